//! A ledger in a file, which its writer keeps itself: what is written there outlives it, and costs
//! nobody else anything until then.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::ledger::{Ledger, WORDS};

pub(crate) struct Book(File);

impl Book {
    pub(crate) fn open(path: &Path) -> Book {
        let mut options = File::options();
        Book(options.read(true).write(true).create(true).truncate(false).open(path).unwrap())
    }

    /// One call of the system, within a page, so that a kill leaves all of it or none.
    pub(crate) fn write(&self, ledger: &Ledger) {
        let bytes: Vec<u8> = ledger.words().into_iter().flat_map(u64::to_le_bytes).collect();
        assert_eq!(self.0.write_at(&bytes, 0).unwrap(), bytes.len());
    }

    /// What was written last; an empty ledger if nothing was.
    pub(crate) fn read(&self) -> Ledger {
        // Its writer may be at it: what is twice the same is whole.
        let mut before = self.words();
        loop {
            let now = self.words();
            if now == before {
                return Ledger::from_words(&now);
            }
            before = now;
        }
    }

    fn words(&self) -> [u64; WORDS] {
        let mut bytes = [0; 8 * WORDS];
        // Shorter only where nothing has been written.
        let _ = self.0.read_at(&mut bytes, 0).unwrap();
        let (words, _) = bytes.as_chunks();
        std::array::from_fn(|index| u64::from_le_bytes(words[index]))
    }
}
