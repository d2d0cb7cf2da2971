use std::sync::LazyLock;

use firncache::{Cache, memoize};

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());

#[memoize(cache = CACHE, expire = "1 fortnight")]
fn unit() -> u8 {
    42
}

#[memoize(cache = CACHE, expire = 60)]
fn number() -> u8 {
    42
}

#[memoize(cache = CACHE, expire = "0s")]
fn nothing() -> u8 {
    42
}

#[memoize(cache = CACHE, expire = "99999999999999999999d")]
fn too_long() -> u8 {
    42
}

fn main() {}
