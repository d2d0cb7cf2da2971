use firncache::{Cache, memoize};

struct Site(Cache);

impl Site {
    #[memoize(cache = self.0)]
    fn page(&self, number: u32) -> u32 {
        number
    }
}

fn main() {}
