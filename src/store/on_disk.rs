//! The segment files that a rebuild finds, by what their headers say.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use crate::error::Result;
use crate::format::location::{Location, Segment};
use crate::format::record::Kind;
use crate::format::segment::{HEADER_UNITS, SegmentHeader, TINY_SEGMENT_UNITS};
use crate::store::Writer;
use crate::store::check::Finding;
use crate::store::history::History;
use crate::sys::file::is_no_file;

/// The segments of a store that have a file.
pub(crate) struct Segments {
    /// The sizes of all.
    units: HashMap<u32, u64>,
    newest: Option<Segment>,
    /// The oldest that had a file when the newest began. Drained ones are read, too, unless it is
    /// certain that they were: what was moved out of them may have been lost.
    oldest: Option<Segment>,
    /// How far the log was known to be on disk then.
    pub(crate) synced: Location,
}

impl Segments {
    pub(crate) fn has(&self, segment: Segment) -> bool {
        self.units.contains_key(&segment.number())
    }

    /// Whether all that lies before this segment was known to be on disk.
    fn has_synced(&self, segment: Segment) -> bool {
        let start = Location::new(segment, HEADER_UNITS);
        !self.synced.is_none() && self.synced.is_at_or_after(start)
    }

    /// The last segment, however far from the others.
    pub(crate) fn last(&self) -> Option<Segment> {
        // Looked at in any order: the last one is wanted.
        let all = self.units.keys().map(|number| Segment::new(u64::from(*number)));
        all.reduce(|last, other| if other.is_after(last) { other } else { last })
    }

    /// Those that lie between the oldest and the newest, in order.
    fn in_order(&self) -> Vec<Segment> {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else { return Vec::new() };
        // In any order: sorted below.
        let all = self.units.keys().map(|number| Segment::new(u64::from(*number)));
        let mut found: Vec<Segment> = all.filter(|it| it.is_within(oldest, newest)).collect();
        found.sort_by_key(|segment| segment.since(oldest));
        found
    }
}

impl Writer<'_> {
    /// Where the history begins that is to be read: at the last segment for which a record says that
    /// all before it is given up, and from which the log is whole up to that record. What is left of
    /// older segments says nothing: their files may have been used again in part.
    ///
    /// Where nothing was given up it begins with the oldest segment. If that one is missing without
    /// having been on disk there is no history.
    ///
    /// The history ends at `stop` if there is one, and no record from there on counts.
    pub(crate) fn start_of_history(
        &self,
        segments: &Segments,
        stop: Option<Location>,
    ) -> Result<Option<Segment>> {
        let found = segments.in_order();
        let (mut start, mut chain, mut whole_to) = (None, None, None);
        'found: for segment in &found {
            if whole_to != Some(*segment) {
                chain = Some(*segment);
            }
            let mut at = Location::new(*segment, HEADER_UNITS);
            while at.segment() == *segment
                && let Some((record, _)) = self.record_at(at)?
            {
                if stop == Some(at) {
                    break 'found;
                }
                let first = match record.header.kind {
                    Kind::Retire => Some(Segment::new(record.arguments[0]).next()),
                    Kind::Clear => Some(*segment),
                    _ => None,
                };
                start =
                    first.filter(|it| chain.is_some_and(|c| it.is_within(c, *segment))).or(start);
                at = record.end();
            }
            whole_to = (at.segment() != *segment).then(|| at.segment());
        }
        let oldest = found
            .first()
            .copied()
            .filter(|oldest| segments.oldest == Some(*oldest) || segments.has_synced(*oldest));
        Ok(start.or(oldest))
    }

    /// Looks at all segment files and maps them. `is_trusted`: the head knows which there are.
    pub(crate) fn segments_on_disk(
        &mut self,
        is_trusted: bool,
        history: &mut History,
    ) -> Result<Segments> {
        let shared = self.shared;
        let (state, tail) = (&*self.state, self.tail);
        let names = shared
            .dir
            .list("")
            .map_err(|source| shared.failed("list the files of", ".", source))?;
        let mut headers: Vec<SegmentHeader> = Vec::new();
        let (mut misnamed, mut well_named) = (Vec::new(), HashSet::new());
        for segment in names.iter().filter_map(|name| Segment::from_file_name(name)) {
            let Some((units, header)) = self.header_on_disk(segment)? else { continue };
            if let Some(header) = header {
                headers.push(header);
                if header.segment != segment {
                    misnamed.push((segment, header.segment));
                } else {
                    well_named.insert(segment.number());
                }
            } else if is_trusted && segment.is_within(state.oldest, tail.segment()) {
                history.findings.push(Finding {
                    path: shared.dir.join(&segment.file_name()),
                    what: "the header of the segment is damaged".to_owned(),
                });
                let (first, oldest) = (state.first, state.oldest);
                headers.push(SegmentHeader { segment, units, first, oldest, synced: state.synced });
            }
        }
        // A file that was given to another segment, and whose new name was lost: newest first, as
        // its name may be the right one of another. Under the new name there may be a blank file.
        misnamed.sort_by(|(_, left), (_, right)| right.is_after(*left).cmp(&left.is_after(*right)));
        for (name, segment) in misnamed {
            if !well_named.contains(&segment.number()) {
                let _ = shared.dir.rename(&name.file_name(), &segment.file_name());
            }
        }
        for header in &headers {
            // The head may call gone what is to be read.
            shared.log.reopen(header.segment, |_| false).map_err(|source| {
                shared.failed("map the segment", &header.segment.file_name(), source)
            })?;
        }
        // The newest header knows most; serial numbers compare among the files of one time.
        let newest = headers.iter().copied().reduce(|newest, other| {
            if other.segment.is_after(newest.segment) { other } else { newest }
        });
        Ok(Segments {
            units: headers.iter().map(|it| (it.segment.number(), it.units)).collect(),
            newest: newest.map(|header| header.segment),
            oldest: newest.map(|header| header.oldest),
            synced: newest.map_or(Location::NONE, |header| header.synced),
        })
    }

    /// Makes blank files in place of segments that have none, up to the one where the log is known to
    /// end: what lies behind them is not given up. Where more are missing than are there, the counters
    /// are what is damaged, and nothing is done.
    pub(crate) fn fill_gaps(&mut self, found: &mut Segments, history: &mut History) -> Result<()> {
        let (first, last) = (self.state.first, self.tail.segment());
        let missing: Vec<Segment> = std::iter::successors(Some(first), |it| Some(it.next()))
            .take_while(|it| *it != last && it.is_within(first, last))
            .filter(|it| !found.has(*it))
            .collect();
        if missing.len() > found.units.len() {
            return Ok(());
        }
        for segment in missing {
            let name = segment.file_name();
            // Of something else that has the name.
            let _ = self.shared.dir.unlink(&name).or_else(|_| self.shared.dir.remove_dir(&name));
            self.write_segment_header(segment, TINY_SEGMENT_UNITS)?;
            found.units.insert(segment.number(), TINY_SEGMENT_UNITS);
            history.findings.push(Finding {
                path: self.shared.dir.join(&name),
                what: "the segment is missing".to_owned(),
            });
        }
        Ok(())
    }

    /// The size of a segment's file, and its header if that is sound.
    fn header_on_disk(&self, segment: Segment) -> Result<Option<(u64, Option<SegmentHeader>)>> {
        let name = segment.file_name();
        let failed = |source| self.shared.failed("read the segment", &name, source);
        let file = match self.shared.dir.file(&name, true) {
            Err(error) if error.kind() == ErrorKind::NotFound || is_no_file(&error) => {
                return Ok(None);
            }
            other => other.map_err(failed)?,
        };
        let mut bytes = [0; 8 * HEADER_UNITS as usize];
        if file.metadata().map_err(failed)?.len() < bytes.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let units = file.metadata().map_err(failed)?.len() / 8;
        let words = std::array::from_fn(|index| {
            u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap_or_default())
        });
        let header = SegmentHeader::decode(&words, self.shared.identity.store_id);
        Ok(Some((units, header.filter(|header| header.units == units))))
    }
}
