//! Two processes with different settings, and with different codecs.

use std::path::Path;

use firncache::{Cache, Eviction, Json};

use crate::worker::{run, say};

/// A worker: names other settings than the parent, and writes with another codec.
pub(crate) fn write_with_others(directory: &Path) {
    let options = Cache::options().codec(Json).size_limit(64 << 20).eviction(Eviction::Sieve);
    let cache = options.value_file_threshold(100).open(directory).unwrap();
    let found: Option<Vec<(String, u8)>> = cache.get("by the parent").unwrap();
    say(&format!("{found:?}"));
    cache.set("by the worker", &vec![("json".to_owned(), 1_u8)]).unwrap();
    cache.set_bytes("large", &[3; 4000]).unwrap();
    say(&format!("{}", cache.check().unwrap().is_clean()));
}

#[test]
fn what_one_process_names_holds_for_the_other_and_each_reads_both_codecs() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = Cache::options().size_limit(1 << 20).cull_limit(3).open(&directory).unwrap();
    let value = vec![("bincode".to_owned(), 7_u8)];
    cache.set("by the parent", &value).unwrap();
    let said = run("other settings", &directory);
    assert_eq!(said, [format!("{:?}", Some(&value)), "true".to_owned()]);
    let settings = cache.settings();
    assert_eq!((settings.size_limit, settings.cull_limit), (64 << 20, 3));
    assert_eq!((settings.eviction, settings.value_file_threshold), (Eviction::Sieve, 100));
    let theirs: Option<Vec<(String, u8)>> = cache.get("by the worker").unwrap();
    assert_eq!(theirs, Some(vec![("json".to_owned(), 1)]));
    assert_eq!(cache.get_bytes("large").unwrap().unwrap(), [3; 4000]);
    // By the worker's threshold, which is now the cache's.
    cache.set_bytes("also large", &[4; 4000]).unwrap();
    let files = walk(&directory.join("values"));
    assert_eq!(files, 2, "both large values have files");
    assert!(cache.check().unwrap().is_clean());
}

fn walk(path: &Path) -> usize {
    let below = path.read_dir().unwrap().map(|entry| entry.unwrap());
    below.map(|it| if it.path().is_dir() { walk(&it.path()) } else { 1 }).sum()
}
