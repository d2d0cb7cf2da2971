//! Where a record lies: a place in the one endless log.
//!
//! ```text
//!  63        48 47                    21 20                      0
//! +------------+------------------------+------------------------+
//! |     0      |  segment (27 bits)     |  8-byte units (21 bits) |
//! +------------+------------------------+------------------------+
//! ```
//!
//! Segments are numbered for ever, modulo 2^27, and compared as serial numbers: at most 2^26 of
//! them exist at a time, so "older than" is the sign of a difference. A segment begins with its
//! header, so that no record lies at unit 0 and the all-zero location can mean "none".

use std::fmt;

/// Bits of a location that number 8-byte units within a segment.
pub(crate) const UNIT_BITS: u32 = 21;
/// Bits of a location that number the segment.
pub(crate) const SEGMENT_BITS: u32 = 27;
/// Bits of a location altogether.
pub(crate) const LOCATION_BITS: u32 = UNIT_BITS + SEGMENT_BITS;
/// Mask of all location bits in a word.
pub(crate) const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
/// The largest segment, in 8-byte units: 16 MiB.
pub(crate) const MAX_SEGMENT_UNITS: u64 = 1 << UNIT_BITS;

const SEGMENT_MASK: u32 = (1 << SEGMENT_BITS) - 1;
const _: () = assert!(LOCATION_BITS == 48);

/// The number of a segment: a serial number of 27 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Segment(u32);

impl Segment {
    /// The segment of this number, modulo 2^27.
    pub(crate) fn new(number: u64) -> Segment {
        Segment((number & u64::from(SEGMENT_MASK)) as u32)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The segment written after this one.
    pub(crate) fn next(self) -> Segment {
        Segment((self.0 + 1) & SEGMENT_MASK)
    }

    /// How many segments after `older` this one comes; huge if it comes before.
    pub(crate) fn since(self, older: Segment) -> u32 {
        self.0.wrapping_sub(older.0) & SEGMENT_MASK
    }

    /// Whether this segment comes after `other`, as serial numbers.
    pub(crate) fn is_after(self, other: Segment) -> bool {
        (1..1 << (SEGMENT_BITS - 1)).contains(&self.since(other))
    }

    /// Whether this segment lies in `first..=last`.
    pub(crate) fn is_within(self, first: Segment, last: Segment) -> bool {
        self.since(first) <= last.since(first)
    }

    /// The name of the segment's file.
    pub(crate) fn file_name(self) -> String {
        format!("log.{:07x}", self.0)
    }

    /// The segment that a file name stands for, if it is the name of a segment.
    pub(crate) fn from_file_name(name: &str) -> Option<Segment> {
        let digits = name.strip_prefix("log.")?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        let segment = Segment(number & SEGMENT_MASK);
        (segment.file_name() == name).then_some(segment)
    }
}

/// A place in the log, in 8-byte units.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Location(u64);

impl Location {
    /// No place at all.
    pub(crate) const NONE: Location = Location(0);

    pub(crate) fn new(segment: Segment, unit: u64) -> Location {
        debug_assert!(unit < MAX_SEGMENT_UNITS, "unit {unit} beyond a segment");
        Location(u64::from(segment.0) << UNIT_BITS | unit)
    }

    /// The location in the low 48 bits of a word.
    pub(crate) fn from_bits(bits: u64) -> Location {
        Location(bits & LOCATION_MASK)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn segment(self) -> Segment {
        Segment((self.0 >> UNIT_BITS) as u32)
    }

    /// 8-byte units from the start of the segment.
    pub(crate) fn unit(self) -> u64 {
        self.0 & (MAX_SEGMENT_UNITS - 1)
    }

    pub(crate) fn is_none(self) -> bool {
        self.unit() == 0
    }

    /// The place `units` further in the same segment.
    pub(crate) fn plus(self, units: u64) -> Location {
        debug_assert!(self.unit() + units < MAX_SEGMENT_UNITS, "location leaves its segment");
        Location(self.0 + units)
    }

    /// Whether this place comes at or after `other`, as serial numbers.
    pub(crate) fn is_at_or_after(self, other: Location) -> bool {
        (self.0.wrapping_sub(other.0) & LOCATION_MASK) < 1 << (LOCATION_BITS - 1)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:07x}+{}", self.segment().0, self.unit() * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = Segment::new(u64::from(SEGMENT_MASK));
        let first = last.next();
        assert_eq!(first.number(), 0);
        assert_eq!(first.since(last), 1);
        assert!(Location::new(first, 8).is_at_or_after(Location::new(last, 100)));
        assert!(!Location::new(last, 100).is_at_or_after(Location::new(first, 8)));
        assert!(first.is_within(last, first.next()));
        assert!(!first.next().is_within(last, first));
    }

    #[test]
    fn file_names_are_parsed_strictly() {
        let segment = Segment::new(0x1a);
        assert_eq!(Segment::from_file_name(&segment.file_name()), Some(segment));
        for name in ["log.1a", "log.000001A", "log.8000000", "log.", "log.00000001", "log.+00001a"]
        {
            assert_eq!(Segment::from_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn parts_come_back() {
        let at = Location::new(Segment::new(77), 4242);
        assert_eq!((at.segment(), at.unit()), (Segment::new(77), 4242));
        assert_eq!(Location::from_bits(at.bits() | 0xffff << 48), at);
        assert!(Location::new(Segment::new(9), 0).is_none());
    }

    #[test]
    fn order_is_that_of_serial_numbers() {
        let of = |number: u64| Segment::new(number);
        let half = 1 << (SEGMENT_BITS - 1);
        assert!(of(8).is_after(of(7)) && of(6 + half).is_after(of(7)));
        assert!(!of(7).is_after(of(7)) && !of(6).is_after(of(7)) && !of(7 + half).is_after(of(7)));
        assert!(of(7).is_within(of(7), of(7)) && of(9).is_within(of(7), of(9)));
        assert!(!of(6).is_within(of(7), of(9)) && !of(10).is_within(of(7), of(9)));
        let at = |unit| Location::new(of(7), unit);
        assert!(at(9).is_at_or_after(at(9)) && at(10).is_at_or_after(at(9)));
        assert!(!at(8).is_at_or_after(at(9)));
        let across = Location::from_bits(at(9).bits() + (1 << (LOCATION_BITS - 1)));
        assert!(!across.is_at_or_after(at(9)));
        assert!(Location::from_bits(across.bits() - 1).is_at_or_after(at(9)));
    }

    #[test]
    fn a_place_further_on_is_in_the_same_segment() {
        let at = Location::new(Segment::new(77), 4242);
        assert_eq!(at.plus(8), Location::new(Segment::new(77), 4250));
        assert!(!at.is_none() && Location::NONE.is_none());
        assert_eq!(format!("{at:?}"), "000004d+33936");
    }
}
