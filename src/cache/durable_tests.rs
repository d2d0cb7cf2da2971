//! Handles that promise durability, on a disk that has failed.

use std::time::Duration;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::options::Durability;
use crate::error::{ErrorKind, Result};

/// Who tries again would lose one item after the other, or add one after the other.
#[test]
fn nothing_is_changed_that_cannot_be_durable() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::options().durability(Durability::Sync).open(dir.path()).unwrap();
    (0..3).for_each(|value| _ = cache.push(&value).unwrap());
    cache.set("count", &1).unwrap();
    let store = &cache.0.store;
    store.shared().head.set_sync_failed(&store.shared().whereabouts().unwrap());
    let expire = Some(Duration::from_secs(60));
    let operations: [(&str, &dyn Fn() -> Result<()>); 10] = [
        ("pull", &|| cache.pull::<i32>().map(drop)),
        ("pop", &|| cache.pop::<i32>("count").map(drop)),
        ("push", &|| cache.push(&7).map(drop)),
        ("incr", &|| cache.incr("count", 1).map(drop)),
        ("set", &|| cache.set("other", &1)),
        ("add", &|| cache.add("other", &1).map(drop)),
        ("touch", &|| cache.touch("count", expire).map(drop)),
        ("delete", &|| cache.delete("count").map(drop)),
        ("set_many", &|| cache.set_many([("other", 1)], SetOptions::new()).map(drop)),
        ("drop_outermost", &|| cache.drop_outermost(crate::Side::Back).map(drop)),
    ];
    for (name, operation) in operations {
        assert_eq!(operation().unwrap_err().kind(), ErrorKind::Io, "{name}");
        assert_eq!((cache.len().unwrap(), cache.get("count").unwrap()), (4, Some(1)), "{name}");
    }
    assert!(cache.get_entry::<i32>("count").unwrap().unwrap().expires_at.is_none());
    let other = Cache::open(dir.path()).unwrap();
    assert_eq!(other.pull::<i32>().unwrap().unwrap().1, 0, "it promises less");
    cache.clear().unwrap();
    cache.push(&7).unwrap();
    assert_eq!(cache.pull::<i32>().unwrap().unwrap().1, 7);
}
