//! Several threads and processes at once, and what only they can break.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::format::location::LOCATION_MASK;
use crate::format::settings::Settings;
use crate::store::open::OpenOptions;
use crate::store::scan::Item;
use crate::store::writer::{Put, PutValue};
use crate::store::{Store, Writer};
use crate::sys::testing::Child;

const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &Path, size_limit: u64) -> Store {
    let settings = Settings { size_limit, ..Settings::default() };
    let options =
        OpenOptions { create: true, read_only: false, allow_network: true, settings: Some(settings) };
    Store::open(path, &options).unwrap()
}

fn put_in(store: &Store, writer: &mut Writer<'_>, key: &[u8], value: &[u8]) -> Result<()> {
    let key = store.hashed(key);
    let found = writer.find(key)?;
    let put = Put {
        value_kind: 7,
        value: PutValue::Bytes(value),
        tag: b"",
        expires_ms: LOCATION_MASK,
        stored_ms: 1,
        keep_access: false,
    };
    writer.put(key, found.as_ref(), put)
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    store.write(PATIENCE, |writer| put_in(store, writer, key, value)).unwrap();
}

fn remove(store: &Store, key: &[u8]) -> bool {
    store
        .write(PATIENCE, |writer| match writer.find(store.hashed(key))? {
            Some(found) => writer.remove(key, &found, 0).map(|()| true),
            None => Ok(false),
        })
        .unwrap()
}

fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(store.hashed(key), None, &mut value).unwrap().map(|_| value)
}

fn number(key: &[u8]) -> u32 {
    u32::from_le_bytes(key.try_into().unwrap())
}

fn check(store: &Store) {
    let findings = store.check(PATIENCE).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn t1_transaction_that_empties_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    for n in 0..200u32 { put(&store, &n.to_le_bytes(), b"v"); }
    let open = store.begin(PATIENCE).unwrap();
    for n in 0..64u32 { assert!(remove(&store, &n.to_le_bytes())); }
    open.commit().unwrap();
    check(&store);
    for n in 1000..1400u32 { put(&store, &n.to_le_bytes(), b"v"); }
    check(&store);
}

#[test]
fn t3_transactions_let_the_log_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    for n in 0..20_000u32 {
        let open = store.begin(PATIENCE).unwrap();
        put(&store, &(n % 10).to_le_bytes(), &[n as u8; 1000]);
        open.commit().unwrap();
    }
    let state = store.state();
    assert!(8 * state.log_units < 1 << 20, "{state:?}");
}

#[test]
fn t4_scan_after_transaction_opened_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let open = store.begin(PATIENCE).unwrap();
    for n in 0..320u32 { put(&store, &n.to_le_bytes(), b"v"); }
    open.commit().unwrap();
    let mut scan = store.scan();
    let mut item = Item::default();
    let mut seen = HashSet::new();
    for _ in 0..10 { assert!(scan.next(&store, &mut item).unwrap()); seen.insert(number(&item.key)); }
    for n in 0..64u32 { remove(&store, &n.to_le_bytes()); }
    while scan.next(&store, &mut item).unwrap() { seen.insert(number(&item.key)); }
    let missed: Vec<u32> = (64..320).filter(|n| !seen.contains(n)).collect();
    assert!(missed.is_empty(), "missed {} keys: {missed:?}", missed.len());
}

#[test]
fn t6_scan_own_added_while_removing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let open = store.begin(PATIENCE).unwrap();
    for n in 0..10u32 { put(&store, &n.to_le_bytes(), b"v"); }
    let mut scan = store.scan();
    let mut item = Item::default();
    let mut seen = 0;
    while scan.next(&store, &mut item).unwrap() { seen += 1; remove(&store, &item.key.clone()); }
    assert_eq!(seen, 10);
    drop(open);
}

#[test]
fn t2_a_key_stored_again_in_a_transaction_is_never_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    put(&store, b"k", b"v");
    let done = AtomicBool::new(false);
    let (misses, reads) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 { scope.spawn(|| while !done.load(Ordering::Relaxed) {
            if get(&store, b"k").is_none() { misses.fetch_add(1, Ordering::Relaxed); }
            reads.fetch_add(1, Ordering::Relaxed);
        }); }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let open = store.begin(PATIENCE).unwrap();
            assert!(remove(&store, b"k"));
            put(&store, b"k", b"v");
            open.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(misses.into_inner(), 0, "of {}", reads.into_inner());
}

#[test]
fn t8_a_staged_file_outlives_a_fork() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, b"a", b"b");
    let staged = std::cell::Cell::new(Some(store.stage_bytes(&[1; 100_000], PATIENCE).unwrap()));
    assert!(Child::fork(|| { drop(staged.take()); true }).succeeded());
    let key = store.hashed(b"k");
    store.write(PATIENCE, |writer| {
        let put = Put { value_kind: 7, value: PutValue::Staged(staged.take().unwrap()), tag: b"",
            expires_ms: LOCATION_MASK, stored_ms: 1, keep_access: false };
        writer.put(key, None, put)
    }).unwrap();
}

#[test]
fn t9_a_newcomer_that_only_stages_does_not_shield_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    // Dies in a transaction, in slot 0.
    let mut dead = Child::fork(|| {
        let open = store.begin(PATIENCE).unwrap();
        put(&store, b"x", b"y");
        std::mem::forget(open);
        true
    });
    dead.wait();
    let place = dir.path().join("staged");
    let _newcomer = Child::fork(|| {
        let staged = store.stage_bytes(b"large", PATIENCE).unwrap();
        std::fs::write(&place, b"").unwrap();
        loop { std::thread::park(); }
        #[allow(unreachable_code)] { drop(staged); true }
    });
    while !place.exists() { std::thread::sleep(Duration::from_millis(1)); }
    store.write(Duration::from_secs(2), |w| put_in(&store, w, b"a", b"b")).unwrap();
}

#[test]
fn t10_a_rolled_back_segment_is_not_written_to_when_it_was_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    put(&store, b"a", b"b");
    let open = store.begin(PATIENCE).unwrap();
    put(&store, b"big", &[1; 40_000]);
    put(&store, b"huge", &vec![1; 9 << 20]);
    assert!(open.commit().is_err());
    assert!(Child::fork(|| {
        for n in 0..9u32 { put(&store, &n.to_le_bytes(), &[n as u8; 1000]); }
        true
    }).succeeded());
    put(&store, b"after", b"value");
    assert!(Child::fork(|| get(&store, b"after").as_deref() == Some(b"value")).succeeded());
    check(&store);
}

#[test]
fn t13_a_transaction_begun_while_unwinding() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    struct Late<'a>(&'a Store);
    impl Drop for Late<'_> { fn drop(&mut self) {
        let open = self.0.begin(PATIENCE).unwrap();
        put(self.0, b"half", b"done");
        drop(open);
    } }
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _late = Late(&store);
        panic!("on purpose");
    }));
    assert_eq!(get(&store, b"half"), None, "rolled back");
}

#[test]
fn t14_waiting_processes_get_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, b"a", b"b");
    let _hog = Child::fork(|| loop {
        store.write(PATIENCE, |w| { std::thread::sleep(Duration::from_millis(1)); put_in(&store, w, b"h", b"h") }).unwrap();
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        store.write(Duration::from_secs(20), |w| put_in(&store, w, b"a", b"b")).unwrap();
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_millis(500), "{longest:?}");
}

#[test]
fn t19_a_fork_inside_a_write_leaves_the_lock_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, b"a", b"b");
    let word = || store.shared().head.lock_word().unwrap().load(Ordering::Relaxed);
    let pid = std::process::id();
    store.write(PATIENCE, |_| {
        let before = word();
        // The child unwinds out of the write.
        let ok = Child::fork(|| true);
        drop(ok);
        assert_eq!(before, word());
        Ok(())
    }).unwrap();
    let _ = pid;
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed >> 33
}

/// A value that says its key and version over and over.
fn telling(key: u32, version: u64, len: usize) -> Vec<u8> {
    let mut unit = key.to_le_bytes().to_vec();
    unit.extend_from_slice(&version.to_le_bytes());
    unit.repeat(len.max(1))
}

/// The version that a value tells; panics if it is of another key, or mixed.
fn told(key: u32, value: &[u8]) -> u64 {
    assert!(value.len() >= 12 && value.len() % 12 == 0, "length {}", value.len());
    assert!(value.chunks(12).all(|unit| unit == &value[..12]), "mixed");
    assert_eq!(number(&value[..4]), key, "another key's");
    u64::from_le_bytes(value[4..12].try_into().unwrap())
}

const STABLE: u32 = 100;
const CHURN: u32 = 1000;

struct Board { acked: Vec<AtomicU64>, done: AtomicBool }

fn writer(store: &Store, board: &Board, me: u32, of: u32, seconds: u64) -> u64 {
    let mut seed = u64::from(me) * 77 + 1;
    let (start, mut writes) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        writes += 1;
        let mine = (0..STABLE).filter(|k| k % of == me).collect::<Vec<_>>();
        match random(&mut seed) % 20 {
            0..8 => {
                let key = mine[(random(&mut seed) % mine.len() as u64) as usize];
                let version = board.acked[key as usize].load(Ordering::Relaxed) + 1;
                put(store, &key.to_le_bytes(), &telling(key, version, (random(&mut seed) % 60) as usize));
                board.acked[key as usize].store(version, Ordering::Release);
            }
            8..10 => {
                // Two keys in step.
                let open = store.begin(PATIENCE).unwrap();
                let version = board.acked[(10_000 + 2 * me) as usize].load(Ordering::Relaxed) + 1;
                let keys = if seed & 64 == 0 { [10_000 + 2 * me, 10_001 + 2 * me] } else { [10_001 + 2 * me, 10_000 + 2 * me] };
                for key in keys {
                    if seed & 128 == 0 { remove(store, &key.to_le_bytes()); }
                    put(store, &key.to_le_bytes(), &telling(key, version, 5));
                }
                open.commit().unwrap();
                for key in keys { board.acked[key as usize].store(version, Ordering::Release); }
            }
            10..12 => {
                let open = store.begin(PATIENCE).unwrap();
                let base = STABLE + (random(&mut seed) % u64::from(CHURN)) as u32;
                for key in base..base + 100 {
                    if seed & 1024 == 0 { remove(store, &key.to_le_bytes()); } else { put(store, &key.to_le_bytes(), &telling(key, writes, 3)); }
                }
                if seed & 512 == 0 { open.commit().unwrap(); }
            }
            12..16 => {
                let base = STABLE + (random(&mut seed) % u64::from(CHURN)) as u32;
                for key in base..base + 90 { remove(store, &key.to_le_bytes()); }
            }
            _ => {
                let base = STABLE + (random(&mut seed) % u64::from(CHURN)) as u32;
                for key in base..base + 70 {
                    put(store, &key.to_le_bytes(), &telling(key, writes, (random(&mut seed) % 30) as usize));
                }
            }
        }
    }
    writes
}

fn reader(store: &Store, board: &Board, me: u64, writers: u32) -> u64 {
    let (mut seed, mut reads) = (me, 0);
    let mut last = vec![0u64; 20_000];
    let mut value = Vec::new();
    let mut look = |key: u32, must: bool| -> u64 {
        let least = board.acked[key as usize].load(Ordering::Acquire);
        let hit = store.get(store.hashed(&key.to_le_bytes()), None, &mut value).unwrap();
        let Some(_) = hit else { assert!(!must || least == 0, "key {key} missed"); return 0 };
        let version = told(key, &value);
        if must {
            assert!(version >= least.max(last[key as usize]), "stale {key}");
            last[key as usize] = version;
        }
        version
    };
    while !board.done.load(Ordering::Relaxed) {
        look((random(&mut seed) % u64::from(STABLE)) as u32, true);
        look(STABLE + (random(&mut seed) % u64::from(CHURN)) as u32, false);
        let pair = 10_000 + 2 * (random(&mut seed) as u32 % writers);
        let (a, b) = (look(pair, true), look(pair + 1, true));
        assert!(b >= a, "half a transaction: {a} {b}");
        let (b, a) = (look(pair + 1, true), look(pair, true));
        assert!(a >= b, "half a transaction: {a} {b}");
        reads += 6;
    }
    reads
}

fn walker(store: &Store, board: &Board, me: u64) -> u64 {
    let (mut seed, mut walks) = (me, 0);
    let mut item = Item::default();
    while !board.done.load(Ordering::Relaxed) {
        let kind = random(&mut seed) % 3;
        let mut scan = store.scan();
        let mut seen = HashSet::new();
        let (mut rows, mut backs) = (0, u64::MAX);
        loop {
            let back = kind == 1 || kind == 2 && random(&mut seed) % 2 == 0;
            let more = if back { scan.next_back(store, &mut item) } else { scan.next(store, &mut item) };
            if !more.unwrap() { break; }
            let key = number(&item.key);
            told(key, &item.value);
            assert!(seen.insert(key), "{key} twice, walk {kind}");
            let row = item.header.unwrap().row;
            assert!(row > rows && row < backs, "order");
            if back { backs = row } else { rows = row }
        }
        let missed: Vec<u32> = (0..STABLE).filter(|key| !seen.contains(key)).collect();
        assert!(missed.is_empty(), "walk {walks} of kind {kind} missed {missed:?} ({} seen)", seen.len());
        walks += 1;
    }
    walks
}

#[test]
fn u1_everything_at_once() {
    let seconds: u64 = std::env::var("STRESS").map_or(5, |s| s.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    let board = Board { acked: (0..20_000).map(|_| AtomicU64::new(0)).collect(), done: AtomicBool::new(false) };
    // Stable keys spread over many pages, between others that go.
    for key in 0..STABLE {
        put(&store, &key.to_le_bytes(), &telling(key, 1, 3));
        board.acked[key as usize].store(1, Ordering::Relaxed);
        for other in 0..10 { let k = STABLE + key * 10 + other; put(&store, &k.to_le_bytes(), &telling(k, 1, 1)); }
    }
    std::thread::scope(|scope| {
        let (store, board) = (&store, &board);
        let readers: Vec<_> = (0..2).map(|n| scope.spawn(move || reader(store, board, n, 2))).collect();
        let walkers: Vec<_> = (0..2).map(|n| scope.spawn(move || walker(store, board, n + 9))).collect();
        let writers: Vec<_> = (0..2).map(|n| scope.spawn(move || writer(store, board, n, 2, seconds))).collect();
        if seconds > 5 { for _ in 0..seconds { std::thread::sleep(Duration::from_secs(1)); let s = store.state(); eprintln!("log {} live {} first {:?} oldest {:?} tail {:?} synced {:?} spare {}", 8*s.log_units, s.live_bytes, s.first, s.oldest, store.shared().head.tail(), s.synced, s.spare_units); } }
        let writes: Vec<_> = writers.into_iter().map(|t| t.join()).collect();
        board.done.store(true, Ordering::Relaxed);
        let reads: Vec<_> = readers.into_iter().map(|t| t.join().is_ok()).collect();
        let walks: Vec<_> = walkers.into_iter().map(|t| t.join()).collect();
        eprintln!("writes {writes:?} reads {reads:?} walks {walks:?}");
        assert!(writes.iter().all(|w| w.is_ok()) && reads.iter().all(|r| *r) && walks.iter().all(|w| w.is_ok()));
    });
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains(dir.path().to_str().unwrap())).count();
    eprintln!("maps {ours} {:?}", store.state());
    check(&store);
    assert!(store.repair(PATIENCE).unwrap().is_empty());
    check(&store);
}

fn bounded(transactions: bool, keys: u32, len: usize, limit: u64) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), limit);
    let mut seed = 1;
    for n in 0..40_000u32 {
        let open = transactions.then(|| store.begin(PATIENCE).unwrap());
        let key = (random(&mut seed) % u64::from(keys)) as u32;
        put(&store, &key.to_le_bytes(), &vec![n as u8; len]);
        if let Some(open) = open { open.commit().unwrap(); }
        if n % 10_000 == 9999 {
            let s = store.state();
            let segment = 8 * crate::store::space::segment_units(s.live_bytes, &store.settings());
            eprintln!("tx {transactions} keys {keys} len {len}: log {} live {} segment {segment} ratio {:.2}", 8 * s.log_units, s.live_bytes, 8.0 * s.log_units as f64 / (1.5 * s.live_bytes as f64 + 2.0 * segment as f64));
        }
    }
    check(&store);
}

#[test]
fn u2_the_log_stays_within_its_bounds() {
    for (tx, keys, len, limit) in [(false, 100, 1000, 100_000), (false, 1000, 100, 100_000), (true, 100, 1000, 100_000), (true, 1000, 100, 1 << 30), (false, 1000, 1000, 1 << 30)] {
        bounded(tx, keys, len, limit);
    }
}

/// Every bit of the words that change in `head`, flipped: no panic, no hang.
#[test]
fn v1_flipped_bits_in_head() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path(), 100_000);
        for n in 0..400u32 { put(&store, &(n % 300).to_le_bytes(), &telling(n % 300, 1, 9)); }
        for n in 0..70u32 { remove(&store, &n.to_le_bytes()); }
    }
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).filter(|e| e.file_type().unwrap().is_file())
        .map(|e| (e.file_name(), std::fs::read(e.path()).unwrap())).collect();
    let head = files.iter().find(|(name, _)| name == "head").unwrap().1.clone();
    let applied = u64::from_le_bytes(head[1152..1160].try_into().unwrap());
    let block = if applied >> 48 & 1 == 0 { 1536 } else { 1792 };
    let words: Vec<usize> = [1088, 1152, 1216].into_iter().chain((0..21).map(|w| block + 8 * w)).chain((0..8).map(|w| 2048 + 8 * w)).collect();
    let only: Option<usize> = std::env::var("WORD").ok().map(|w| w.parse().unwrap());
    for byte in words {
        if only.is_some_and(|o| o != byte) { continue; }
        let mut bad = vec![];
        for bit in (0..64).step_by(if only.is_some() { 1 } else { 3 }) {
            let copy = tempfile::tempdir_in("/dev/shm").unwrap();
            for (name, bytes) in &files {
                let mut bytes = bytes.clone();
                if name == "head" { bytes[byte + bit / 8] ^= 1 << (bit % 8); }
                std::fs::write(copy.path().join(name), bytes).unwrap();
            }
            std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let path = copy.path().to_owned();
            let log = path.join("msg");
            let log2 = log.clone();
            let started = Instant::now();
            let mut child = Child::fork(move || {
                let log = log2.clone();
                std::panic::set_hook(Box::new(move |info| { let _ = std::fs::write(&log, format!("{info}")); }));
                rustix::process::setrlimit(rustix::process::Resource::Cpu, rustix::process::Rlimit { current: Some(2), maximum: Some(2) }).unwrap();
                let options = OpenOptions { create: false, read_only: false, allow_network: true, settings: None };
                let Ok(store) = Store::open(&path, &options) else { return true };
                // As if it had been written here in this boot.
                if let Ok(here) = store.shared().whereabouts() { store.shared().head.set_whereabouts(&here); }
                let mut value = Vec::new();
                for n in 0..300u32 { if let Ok(Some(_)) = store.get(store.hashed(&n.to_le_bytes()), None, &mut value) { told(n, &value); } }
                let (mut item, mut scan) = (Item::default(), store.scan());
                for _ in 0..1000 { if !scan.next(&store, &mut item).unwrap_or(false) { break; } }
                let mut scan = store.scan();
                for _ in 0..1000 { if !scan.next_back(&store, &mut item).unwrap_or(false) { break; } }
                store.volume();
                for n in 0..120u32 {
                    let _ = store.write(PATIENCE, |w| { w.excess(); put_in(&store, w, &(n + 200).to_le_bytes(), &telling(n, 2, 9)) });
                    let _ = store.write(PATIENCE, |writer| match writer.find(store.hashed(&n.to_le_bytes()))? {
                        Some(found) => writer.remove(&n.to_le_bytes(), &found, 0), None => Ok(()) });
                }
                let _ = store.check(PATIENCE);
                let _ = store.sync();
                let _ = store.compact(PATIENCE);
                let _ = store.repair(PATIENCE);
                true
            });
            let status = child.wait();
            if status.exit_status() != Some(0) || started.elapsed() > Duration::from_secs(1) {
                bad.push(format!("bit {bit} {:?} {:?} {}", status.terminating_signal(), started.elapsed(), std::fs::read_to_string(&log).unwrap_or_default().replace('\n', " ")));
            }
        }
        if !bad.is_empty() { eprintln!("word {byte} (block+{}): {} bad\n   {}", byte as i64 - block as i64, bad.len(), bad.iter().take(4).cloned().collect::<Vec<_>>().join("\n   ")); }
    }
}
