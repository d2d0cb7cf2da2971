//! The bytes of every layout, as `docs/format.md` has them. Sums were computed apart from this
//! code. A test that fails here means: the change makes stores unreadable that exist.

use crate::format::checksum::{Checksum, word_sum};
use crate::format::entry::{self, Access, Deadline, PAGE_WORDS, filter_bit, tag_hash};
use crate::format::head::{self, Identity};
use crate::format::key::{MAX_DEPTH, MAX_KEY_BYTES};
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::format::location::{Location, Segment};
use crate::format::record::{
    CONTROL, CULLED, EXPIRED, FILE, FileRef, Header, KEEP_ACCESS, Kind, TRANSACTION,
};
use crate::format::segment::{DRAINED_WORD, HEADER_UNITS, MIN_SEGMENT_UNITS, SegmentHeader};
use crate::format::settings::{Eviction, PowerLoss, Settings};
use crate::format::slot::{BUCKET_WORDS, SLOTS, Slot, bucket_of, half_of};
use crate::format::state::{Applied, Geometry, STATE_WORDS, State};

const STORE: u64 = 0x0123_4567_89ab_cdef;

fn place() -> Location {
    Location::new(Segment::new(3), 8)
}

#[test]
fn locations_and_names() {
    assert_eq!(Location::new(Segment::new(1), 24).bits(), 0x20_0018);
    assert_eq!(Location::new(Segment::new(0x7ff_ffff), 0x1f_ffff).bits(), 0xffff_ffff_ffff);
    assert_eq!(Segment::new(0x1a).file_name(), "log.000001a");
    let file = FileRef { number: 0xab00_0000_0000_0001, len: 0x0102, sum: 0x0304_0506 };
    assert_eq!(file.name(), "values/ab/00000000000001");
    let words = [0xab00_0000_0000_0001, 0x0102, 0x0304_0506u64];
    assert_eq!(file.encode()[..], words.map(u64::to_le_bytes).concat()[..]);
    assert_eq!(FileRef::decode(&file.encode()), Some(file));
}

#[test]
fn sums_are_seeded_crc32() {
    let mut sum = Checksum::at(STORE, Location::new(Segment::new(1), 24));
    assert_eq!(sum.clone().value(), 0xc71f_8c34);
    sum.update(&[]);
    assert_eq!(sum.value(), 0xc71f_8c34);
}

#[test]
fn words_of_the_head() {
    let identity = Identity { store_id: STORE, hash_key: [1, 2] };
    let magic = u64::from_le_bytes(*b"firncach");
    assert_eq!(identity.encode(), [magic, 1, STORE, 1, 2, 0xb7c4_dbb4]);
    assert_eq!((head::VERSION, head::HEAD_BYTES, head::LOCK_BYTE), (1, 4096, 1024));
    let words = [head::BOOT, head::DEVICE, head::INODE, head::CLEAN, head::SYNC_FAILED];
    assert_eq!(words.map(|word| 8 * word), [512, 528, 536, 544, 552]);
    let words = [head::TAIL, head::APPLIED, head::GEOMETRY, head::MOVES, head::HITS, head::MISSES];
    assert_eq!(words.map(|word| 8 * word), [1088, 1152, 1216, 1224, 1280, 1344]);
    let words = [head::DAMAGED, head::BLOCKS[0], head::BLOCKS[1], head::SETTINGS];
    assert_eq!(words.map(|word| 8 * word), [1408, 1536, 1792, 2048]);
    assert_eq!(Applied::new(Location::new(Segment::new(1), 32), 4).0, 0x4_0000_0020_0020);
    assert_eq!(Geometry::new(7, 64).0, 0x0000_0700_0000_0040);
}

#[test]
fn words_of_a_state_block() {
    let words: [u64; STATE_WORDS] = std::array::from_fn(|index| match index {
        22.. => 0,
        10 => 0x0000_000b_0000_000a,
        8 | 9 => 0x0000_0102_0000_0103 + index as u64,
        _ => 0x0000_1000_0000_0000 + index as u64,
    });
    let state = State::decode(&words);
    assert_eq!(state.encode(), words);
    let first = [state.len, state.live_bytes, state.file_bytes, state.geometry.0, state.overflows];
    assert_eq!(first[..], words[..5]);
    assert_eq!([state.next_row, state.pages, state.listed_pages][..], words[5..8]);
    assert_eq!((state.first_page, state.last_page), (0x10b, 0x102));
    assert_eq!((state.free_page, state.last_fill), (0x10c, 0x102));
    assert_eq!((state.oldest.number(), state.first.number()), (10, 11));
    assert_eq!([state.drained.bits(), state.log_units, state.synced.bits()][..], words[11..14]);
    assert_eq!([state.merge_page, state.min_expiry_ms][..], words[14..16]);
    assert_eq!([state.evictions, state.expirations][..], words[16..18]);
    let last = [state.settings.bits(), state.spare_units, state.controls, state.numbered.bits()];
    assert_eq!(last[..], words[18..22]);
}

#[test]
fn words_of_the_settings() {
    let defaults = Settings::default().encode();
    assert_eq!(defaults, [1 << 30, 256 * 1024, 0x0000_000a_0000_0000]);
    let mut settings = Settings { statistics: true, exact_cull_count: true, ..Default::default() };
    settings.power_loss = PowerLoss::Clear;
    settings.cull_limit = 7;
    let evictions = [
        Eviction::LeastRecentlyStored,
        Eviction::LeastRecentlyUsed,
        Eviction::LeastFrequentlyUsed,
        Eviction::Sieve,
        Eviction::None,
    ];
    for (number, eviction) in evictions.into_iter().enumerate() {
        settings.eviction = eviction;
        assert_eq!(settings.encode()[2], 0x0000_0007_0101_0100 + number as u64);
        assert_eq!(Settings::decode(&settings.encode()), settings);
    }
}

#[test]
fn words_of_a_segment_header() {
    let header = SegmentHeader {
        segment: Segment::new(0x1a),
        units: 0x2000,
        first: Segment::new(0x19),
        oldest: Segment::new(0x18),
        synced: Location::new(Segment::new(0x19), 77),
    };
    let words = [
        u64::from_le_bytes(*b"firnlog1"),
        STORE,
        0x0000_2000_0000_001a,
        0x0000_0018_0000_0019,
        0x0320_004d,
        0x7ae1_48f7,
        0,
        0,
    ];
    assert_eq!(header.encode(STORE), words);
    assert_eq!(SegmentHeader::decode(&words, STORE), Some(header));
    assert_eq!((HEADER_UNITS, DRAINED_WORD, MIN_SEGMENT_UNITS), (8, 6, 0x2000));
}

#[test]
fn words_of_a_record_with_everything() {
    let (tag, key, value) = (b"\x40t", [b'k'; 0x1_0003], [b'v'; 9]);
    let header = Header {
        kind: Kind::Put,
        flags: TRANSACTION | KEEP_ACCESS | FILE | CULLED | EXPIRED,
        value_kind: 0xab,
        tag_len: 2,
        key_len: 0x1_0003,
        value_len: 9,
        entry: 0x0102_0304,
        previous: Location::new(Segment::new(2), 99),
        row: 0x0a0b_0c0d_0e0f,
        expires_ms: 0x6655_4433_2211,
        stored_ms: 0x0605_0403_0201,
    };
    assert_eq!([TRANSACTION, KEEP_ACCESS, FILE, CULLED, EXPIRED, CONTROL], [1, 2, 4, 8, 16, 32]);
    let words = [
        0xd9c5_7aab_c3ad_e767,
        0x0003_0002_01ab_1f01,
        0x0102_0304_0000_0009,
        0x2211_0000_0040_0063,
        0x4433_0a0b_0c0d_0e0f,
        0x6655_0605_0403_0201,
    ];
    assert_eq!(header.encode(STORE, place(), &[tag, &key, &value]), words);
    assert_eq!(Header::decode(&words, STORE, place()), Some(header));
}

#[test]
fn first_words_of_all_kinds() {
    let kinds = [
        (Kind::Put, 1, 0, 0x76cf_bfcb_6e44_f5c3_u64),
        (Kind::Delete, 2, 0, 0x5c73_0f43_cb29_ab1d),
        (Kind::Commit, 3, 2, 0x269f_96ad_88ee_fd81),
        (Kind::Settle, 4, 2, 0x7674_ed88_bfc2_37d2),
        (Kind::Seal, 5, 2, 0x6be1_fe5f_bfd2_cdc2),
        (Kind::Retire, 6, 1, 0x0433_053a_b669_bda9),
        (Kind::AddPage, 7, 1, 0x3982_e9e6_439d_00b0),
        (Kind::DropPage, 8, 1, 0xbf69_0f53_f70a_556c),
        (Kind::MergePages, 9, 3, 0x7f70_ad1e_dacc_fc09),
        (Kind::Spill, 10, 2, 0xd7a2_1bc2_b554_e228),
        (Kind::Grow, 11, 1, 0xf9bb_3a37_3fce_1876),
        (Kind::Clear, 12, 1, 0x49ae_bc23_6a23_7afc),
        (Kind::Settings, 13, 3, 0x2e37_1189_822b_726e),
        (Kind::Discard, 14, 2, 0xa1f6_549e_b65d_b768),
    ];
    for (kind, number, arguments, first) in kinds {
        let body: Vec<u8> = (1..=arguments as u64).flat_map(u64::to_le_bytes).collect();
        let words = Header::job(kind, arguments).encode(STORE, place(), &[&body]);
        assert_eq!(words, [first, number, 8 * arguments as u64, 0, 0, 0], "{kind:?}");
        assert_eq!(Header::decode(&words, STORE, place()).map(|it| it.kind), Some(kind));
    }
    for unknown in [0, 15, 255] {
        let mut words = [0, unknown, 0, 0, 0, 0];
        words[0] = u64::from(word_sum(STORE, place(), &words[1..]));
        assert_eq!(Header::decode(&words, STORE, place()), None);
    }
}

#[test]
fn words_of_the_table() {
    let hash = 0xbea5_8eac_8768_acec;
    let at = Location::new(Segment::new(1), 24);
    assert_eq!(Slot::new(hash, at).0, 0xb2c6_0000_0020_0018);
    assert_eq!(Slot::new(hash, at).pending().0, 0xb2c7_0000_0020_0018);
    assert_eq!(Slot::new(hash, place()).0, 0x29ee_0000_0060_0008);
    assert_eq!((SLOTS, BUCKET_WORDS), (5, 8));
    let halves: [_; SLOTS + 1] = std::array::from_fn(half_of);
    assert_eq!(halves, [(5, 0), (5, 32), (6, 0), (6, 32), (7, 0), (7, 32)]);
    assert_eq!([64, 65, 127].map(|buckets| bucket_of(hash, buckets)), [44, 44, 108]);

    let words = [entry::BITMAP, entry::MIN_EXPIRY, entry::TAG_FILTER, entry::LINKS, entry::LIFE];
    assert_eq!(words, [0, 1, 2, 3, 4]);
    assert_eq!((entry::FREE_NEXT, entry::FIRST_ROW, 8 * PAGE_WORDS), (5, 6, 2112));
    assert_eq!([entry::SLOT, entry::HASH, entry::ACCESS, entry::DEADLINE], [0, 1, 2, 3]);
    assert_eq!(Access::new(0x01a2_008d_7400, 3).0, 0x01a2_008d_7400_0003);
    assert_eq!(tag_hash(b"\x40cold"), 0x8d10);
    assert_eq!(filter_bit(0x8d10), 1 << 16);
    assert_eq!(Deadline::new(0x01a2_00c4_6280, 0x8d10).0, 0x01a2_00c4_6280_8d10);
}

#[test]
fn bytes_of_keys() {
    fn check(key: impl ToKey, bytes: &[u8]) {
        assert_eq!(KeyBuf::of(&key).unwrap().as_bytes(), bytes);
    }
    check((), b"\x01");
    check(None::<u8>, b"\x01");
    check(false, b"\x02");
    check(true, b"\x03");
    check(0, b"\x20\x00");
    check(-0.0, b"\x20\x00");
    check(1_u8, b"\x24\x33\x00");
    check(1.0_f32, b"\x24\x33\x00");
    check(501_i64, b"\x24\x3b\xf5\x80");
    check(-1_i128, b"\x1b\xcd\xff");
    check(1.5, b"\x24\x33\x80");
    check(f64::INFINITY, b"\x2f\xff");
    check(f64::NEG_INFINITY, b"\x10\x01");
    check(u64::MAX, b"\x24\x72\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
    check("", b"\x40");
    check("sn\0w", b"\x40sn\0w");
    check(b"\0\xff", b"\x50\0\xff");
    assert_eq!((MAX_KEY_BYTES, MAX_DEPTH), (65_537, 32));
    check(("a\0", b"x", (1,), ()), b"\x60\x40a\x00\xff\x00\x50x\x00\x60\x24\x33\x00\x00\x01");
}
