#[firncache::memoize(expire = "60s")]
fn answer() -> u8 {
    42
}

fn main() {}
