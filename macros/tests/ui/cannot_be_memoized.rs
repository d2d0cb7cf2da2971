use std::sync::LazyLock;

use firncache::{Cache, memoize};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());

#[memoize(cache = CACHE)]
const fn constant() -> u8 {
    42
}

#[memoize(cache = CACHE)]
fn opaque() -> impl Iterator<Item = u8> {
    [1, 2].into_iter()
}

#[memoize(cache = CACHE)]
struct Site;

fn main() {}
