use std::sync::LazyLock;

use firncache::{Cache, memoize};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());

#[memoize(cache = CACHE, expires = "60s")]
fn answer() -> u8 {
    42
}

fn main() {}
