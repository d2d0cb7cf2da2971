//! What programs rely on of constants, options, codecs, clocks and findings, as `surface` does for
//! the rest; and that no public name is missing in the three files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use firncache::recipes::{AnyLock, Barrier, BoundedSemaphore, Guard, Lock, RLock};
use firncache::{
    Bincode, Cache, Clock, Codec, Compression, DEFAULT_CULL_LIMIT, DEFAULT_SIZE_LIMIT,
    DEFAULT_TIMEOUT, DEFAULT_VALUE_FILE_THRESHOLD, Deque, DequeIter, DequeOptions, Durability,
    Error, ErrorKind, Finding, FromKey, Index, IndexIter, IndexOptions, Key, KeyBuf, MAX_KEY_BYTES,
    MAX_VALUE_FILE_THRESHOLD, Options, PowerLoss, ReadValue, Result, Settings, SystemClock, ToKey,
};

#[test]
fn constants_are_what_is_in_force_unless_set() -> Result<()> {
    let Settings { size_limit, cull_limit, value_file_threshold, .. } =
        Cache::temporary()?.settings();
    let _: (u64, u32, u64) = (DEFAULT_SIZE_LIMIT, DEFAULT_CULL_LIMIT, DEFAULT_VALUE_FILE_THRESHOLD);
    assert_eq!((size_limit, cull_limit), (DEFAULT_SIZE_LIMIT, DEFAULT_CULL_LIMIT));
    assert_eq!(value_file_threshold, DEFAULT_VALUE_FILE_THRESHOLD);
    let _: (Duration, u64, usize) = (DEFAULT_TIMEOUT, MAX_VALUE_FILE_THRESHOLD, MAX_KEY_BYTES);
    let dir = tempfile::tempdir().unwrap();
    let options: Options = Cache::options()
        .value_file_threshold(MAX_VALUE_FILE_THRESHOLD)
        .compression(Compression::NONE)
        .allow_untrusted(true);
    let cache = options.open(dir.path())?;
    let longest = "k".repeat(MAX_KEY_BYTES - 2);
    cache.set(&longest, &1)?;
    assert!(cache.contains(longest)?);
    Ok(())
}

#[test]
fn compressions_are_these() {
    let _: Compression = Compression::NONE;
    let _: Compression = Compression::default();
    #[cfg(feature = "zstd")]
    let _: Compression = Compression::zstd(3_i32);
    #[cfg(feature = "lz4")]
    let _: Compression = Compression::lz4();
}

#[test]
fn deques_and_indexes_are_opened_with_these_options() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options: DequeOptions<i32> = Deque::<i32>::options()
        .max_len(9)
        .value_file_threshold(1 << 16)
        .power_loss(PowerLoss::Recover)
        .timeout(Duration::from_secs(5))
        .codec(Bincode)
        .compression(Compression::NONE)
        .clock(SystemClock)
        .read_only(false)
        .create(true)
        .allow_untrusted(false)
        .durability(Durability::Process);
    let deque: Deque<i32> = options.clone().open(dir.path().join("deque"))?;
    let deque: Deque<i32> = Deque::try_from_iter(deque.directory(), [1, 2])?;
    let iter: DequeIter<i32> = deque.iter();
    assert_eq!(iter.collect::<Result<Vec<i32>>>()?, [1, 2]);
    let options: IndexOptions<String, i32> = Index::<String, i32>::options()
        .value_file_threshold(1 << 16)
        .power_loss(PowerLoss::Recover)
        .timeout(Duration::from_secs(5))
        .codec(Bincode)
        .compression(Compression::NONE)
        .clock(SystemClock)
        .read_only(false)
        .create(true)
        .allow_untrusted(false)
        .durability(Durability::Process);
    let index: Index<String, i32> = options.clone().open(dir.path().join("index"))?;
    let one = (String::from("a"), 1);
    let () = index.extend([one.clone()])?;
    let same: Index<String, i32> = Index::try_from_iter([one.clone()])?;
    let map = BTreeMap::from([one]);
    let equal: [bool; 2] = [index.eq_index(&same)?, index.eq_map(&map)?];
    assert_eq!(equal, [true, true]);
    let iter: IndexIter<String, i32> = index.iter();
    assert_eq!(iter.collect::<Result<BTreeMap<String, i32>>>()?, map);
    Ok(())
}

#[test]
fn findings_say_where_and_what() -> Result<()> {
    let cache = Cache::temporary()?;
    cache.set_bytes("large", &[1; 400_000])?;
    fs::remove_file(cache.reader("large")?.unwrap().path().unwrap()).unwrap();
    let report = cache.check()?;
    let findings: &[Finding] = report.findings();
    let (path, what): (&Path, &str) = (findings[0].path(), findings[0].what());
    assert!(path.starts_with(cache.directory()) && !what.is_empty());
    Ok(())
}

#[test]
fn guards_are_released_and_any_lock_makes_a_barrier() -> Result<()> {
    fn once<L: AnyLock>(lock: L) -> Result<i32> {
        Barrier::new(lock).call(|| 1)
    }
    let cache = Cache::temporary()?;
    let guard: Guard = Lock::new(&cache, "a").acquire()?;
    let was_held: bool = guard.release()?;
    assert!(was_held);
    let semaphore = BoundedSemaphore::new(&cache, "c", 2);
    assert_eq!(once(Lock::new(&cache, "a"))? + once(RLock::new(&cache, "b"))?, 2);
    assert_eq!(once(semaphore)?, 1);
    Ok(())
}

/// A codec of a program's own: bincode, with every bit turned.
struct Turned;

impl Codec for Turned {
    fn id(&self) -> u8 {
        200
    }

    fn name(&self) -> &str {
        "turned"
    }

    fn encode(
        &self,
        value: &dyn firncache::erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let start = out.len();
        Bincode.encode(value, out)?;
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        Ok(())
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        Bincode.decode(&bytes.iter().map(|byte| !byte).collect::<Vec<u8>>(), read)
    }
}

/// A clock of a program's own: a second later each time.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, PartialEq)]
struct Even(i64);

impl ToKey for Even {
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
        self.0.encode_key(out)
    }
}

impl FromKey for Even {
    fn from_key(key: Key) -> Result<Even> {
        match i64::from_key(key)? {
            odd if odd % 2 != 0 => Err(Error::key("odd")),
            even => Ok(Even(even)),
        }
    }
}

#[test]
fn codecs_clocks_and_keys_can_be_of_a_program_s_own() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options = Cache::options().codec(Turned).clock(Ticking(AtomicU64::new(1000)));
    let cache = options.open(dir.path())?;
    cache.set(Even(2), &vec![1_u16, 2, 3])?;
    cache.set(Even(4), &vec![4_u16])?;
    assert_eq!(cache.get::<Vec<u16>>(Even(2))?, Some(vec![1, 2, 3]));
    let times = [2, 4].map(|key| cache.get_entry::<Vec<u16>>(key).unwrap().unwrap().stored_at);
    assert!(times[0] < times[1] && times[1] < SystemTime::UNIX_EPOCH + Duration::from_secs(2000));
    let refused = Cache::open(dir.path())?.get::<Vec<u16>>(2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Codec, "who does not have the codec cannot read it");
    let keys: Result<Vec<Even>> = cache.iter().map(|key| Even::from_key(key?)).collect();
    assert_eq!(keys?, [Even(2), Even(4)]);
    assert_eq!(Even::from_key(Key::from(3)).unwrap_err().kind(), ErrorKind::Key);
    assert_eq!(Error::codec("why").kind(), ErrorKind::Codec);
    Ok(())
}

#[cfg(feature = "macros")]
#[test]
fn functions_are_memoized_with_the_attribute() -> Result<()> {
    #[firncache::memoize(cache = cache, key = number)]
    fn square(cache: &Cache, number: i64) -> Result<i64> {
        Ok(number * number)
    }

    let cache = Cache::temporary()?;
    assert_eq!([square(&cache, 3)?, square(&cache, 3)?], [9, 9]);
    assert_eq!(cache.len()?, 1);
    Ok(())
}

/// The words of a text.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

/// The public names that a source declares.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let kinds = ["fn ", "const fn ", "const ", "struct ", "enum ", "trait ", "type "];
        let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        // What is no declaration of these kinds begins with none of them: a field, a module.
        (name.len() < rest.len() && end > 0).then(|| &name[..end])
    })
}

/// The public names below a directory of sources that are not among these words.
fn unused(directory: &Path, used: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // What the attribute writes down is for it alone, and the fuzzer's doors are in no crate.
        if path.ends_with("fuzzing") || path.ends_with("memoized.rs") {
            continue;
        }
        if path.is_dir() {
            found.extend(unused(&path, used));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            // `Sealed` is the one name that is there so that nobody else can use it.
            let missing = declared(&text).filter(|it| *it != "Sealed" && !used.contains(it));
            found.extend(missing.map(|name| format!("{}: {name}", path.display())));
        }
    }
    found
}

#[test]
fn no_public_name_is_missing_in_the_surface() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_fanout = words(include_str!("surface_fanout.rs"));
    let mut all = words(include_str!("surface.rs"));
    all.extend(words(include_str!("surface_names.rs")));
    let mut missing = unused(&sources.join("fanout"), &of_fanout);
    all.extend(of_fanout);
    missing.extend(unused(&sources, &all));
    assert!(missing.is_empty(), "use these in the surface tests:\n{}", missing.join("\n"));
    assert_eq!(declared("    pub const fn one() {}\npub(crate) fn two() {}\n").next(), Some("one"));
    let path = sources.join("recipes");
    assert!(!unused(&path, &BTreeSet::new()).is_empty(), "it can find something");
}
