use std::time::Duration;

use firncache::{Cache, ErrorKind, Eviction, PowerLoss};

use crate::common::{cache, cache_with, kind_of};

#[test]
fn settings_are_kept_and_only_what_is_named_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/cache");
    let cache = Cache::options().size_limit(5 << 20).cull_limit(3).open(&path).unwrap();
    assert_eq!((cache.settings().size_limit, cache.settings().cull_limit), (5 << 20, 3));
    assert_eq!(cache.settings().eviction, Eviction::LeastRecentlyStored);
    drop(cache);
    let cache = Cache::options()
        .eviction(Eviction::Sieve)
        .statistics(true)
        .value_file_threshold(1000)
        .exact_cull_count(true)
        .power_loss(PowerLoss::Clear)
        .open(&path)
        .unwrap();
    let settings = cache.settings();
    assert_eq!((settings.size_limit, settings.cull_limit), (5 << 20, 3));
    assert_eq!((settings.eviction, settings.statistics), (Eviction::Sieve, true));
    assert_eq!((settings.value_file_threshold, settings.exact_cull_count), (1000, true));
    assert_eq!(settings.power_loss, PowerLoss::Clear);
    drop(cache);
    assert_eq!(Cache::open(&path).unwrap().settings(), settings);
}

#[test]
fn other_handles_follow_a_change_at_once() {
    let cache = cache();
    let other = cache.again();
    cache.update_settings(|settings| settings.size_limit = 7 << 20).unwrap();
    other.update_settings(|settings| settings.cull_limit = 4).unwrap();
    assert_eq!(cache.settings(), other.settings());
    assert_eq!((cache.settings().size_limit, cache.settings().cull_limit), (7 << 20, 4));
}

#[test]
fn settings_out_of_range_are_refused_and_nothing_is_broken() {
    let cache = cache();
    let before = cache.settings();
    let refused = cache.update_settings(|settings| {
        settings.cull_limit = 1;
        settings.value_file_threshold = 1 << 40;
    });
    assert_eq!(kind_of(refused), ErrorKind::Setting);
    assert_eq!(cache.settings(), before);
    let options = Cache::options().value_file_threshold(1 << 40);
    assert_eq!(kind_of(options.clone().open(cache.directory())), ErrorKind::Setting);
    let missing = cache.directory().join("missing");
    assert_eq!(kind_of(options.open(&missing)), ErrorKind::Setting);
    assert!(!missing.exists());
    cache.again().set("key", &1).unwrap();
}

#[test]
fn a_codec_with_a_foreign_id_is_refused() {
    struct Foreign;

    impl firncache::Codec for Foreign {
        fn id(&self) -> u8 {
            5
        }

        fn name(&self) -> &str {
            "foreign"
        }

        fn encode(
            &self,
            _: &dyn erased_serde::Serialize,
            _: &mut Vec<u8>,
        ) -> firncache::Result<()> {
            Ok(())
        }

        fn decode(&self, _: &[u8], _: &mut firncache::ReadValue<'_>) -> firncache::Result<()> {
            Ok(())
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let result = Cache::options().codec(Foreign).open(dir.path().join("cache"));
    assert_eq!(kind_of(result), ErrorKind::Setting);
}

#[test]
fn a_read_only_handle_reads_and_never_writes() {
    let cache = cache_with(|options| options.statistics(true).eviction(Eviction::Sieve));
    cache.set("key", &1).unwrap();
    let reader = Cache::options().read_only(true).open(cache.directory()).unwrap();
    assert_eq!(reader.get("key").unwrap(), Some(1));
    assert_eq!(reader.get::<i32>("missing").unwrap(), None);
    assert_eq!((reader.len().unwrap(), reader.iter().count()), (1, 1));
    cache.set("key", &2).unwrap();
    assert_eq!(reader.get("key").unwrap(), Some(2));
    let kinds = [
        kind_of(reader.set("key", &3)),
        kind_of(reader.delete("key")),
        kind_of(reader.incr("key", 1)),
        kind_of(reader.pop::<i32>("key")),
        kind_of(reader.set_bytes("key", &[1; 500_000])),
        kind_of(reader.clear()),
        kind_of(reader.check()),
        kind_of(reader.begin().map(drop)),
        kind_of(reader.update_settings(|settings| settings.cull_limit = 3)),
        kind_of(Cache::options().read_only(true).size_limit(1).open(cache.directory())),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::ReadOnly), "{kinds:?}");
    assert_eq!(cache.get("key").unwrap(), Some(2));
}

#[test]
fn under_a_limit_of_zero_nothing_fits_and_without_eviction_everything_does() {
    let none = cache_with(|options| options.size_limit(0));
    assert_eq!(kind_of(none.set("key", &1)), ErrorKind::TooLarge);
    let all = cache_with(|options| options.size_limit(0).eviction(Eviction::None));
    all.set("key", &1).unwrap();
    assert_eq!(all.get("key").unwrap(), Some(1));
}

#[test]
fn what_does_not_exist_is_made_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    assert_eq!(kind_of(Cache::options().create(false).open(&path)), ErrorKind::Io);
    assert_eq!(kind_of(Cache::options().read_only(true).open(&path)), ErrorKind::Io);
    assert!(!path.exists());
    Cache::open(&path).unwrap();
    Cache::options().create(false).open(&path).unwrap().set("key", &1).unwrap();
}

#[test]
fn a_temporary_cache_goes_with_its_last_handle() {
    let cache = Cache::temporary().unwrap();
    cache.set("key", &1).unwrap();
    let path = cache.directory().to_path_buf();
    let clone = cache.clone();
    drop(cache);
    assert_eq!(clone.get("key").unwrap(), Some(1));
    assert!(path.is_dir());
    drop(clone);
    assert!(!path.exists());
}

#[test]
fn extreme_options_do_not_panic() {
    for timeout in [Duration::ZERO, Duration::MAX] {
        let cache = cache_with(|options| {
            options.timeout(timeout).size_limit(0).value_file_threshold(0).cull_limit(u32::MAX)
        });
        assert_eq!(kind_of(cache.set("key", &1)), ErrorKind::TooLarge);
        cache.update_settings(|settings| settings.size_limit = u64::MAX).unwrap();
        cache.set("key", "a value that goes to a file").unwrap();
        assert_eq!(cache.get::<String>("key").unwrap().unwrap().len(), 27);
        cache.transact(|tx| tx.set("other", &1)).unwrap();
        cache.cull().unwrap();
        assert_eq!(cache.len().unwrap(), 2);
    }
}
