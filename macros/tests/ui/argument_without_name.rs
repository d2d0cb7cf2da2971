use std::sync::LazyLock;

use firncache::{Cache, memoize};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());

#[memoize(cache = CACHE)]
fn sum((one, other): (u32, u32)) -> u32 {
    one + other
}

fn main() {}
