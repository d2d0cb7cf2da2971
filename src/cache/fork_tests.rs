//! What a child has in common with its parent, and must not have.

use std::io::{Read, Seek, SeekFrom};

use crate::cache::Cache;
use crate::sys::testing::Child;

/// An open file has one position, whoever reads.
#[test]
fn a_child_that_reads_on_leaves_the_parents_reader_where_it_is() {
    let cache = Cache::temporary().unwrap();
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 251) as u8).collect();
    cache.set_bytes("large", &bytes).unwrap();
    let mut reader = cache.reader("large").unwrap().unwrap();
    let mut start = vec![0; 1000];
    reader.read_exact(&mut start).unwrap();
    let mut read_on = || {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        rest == bytes[1000..]
    };
    assert!(Child::fork(&mut read_on).succeeded());
    assert!(read_on());
    reader.seek(SeekFrom::Start(5)).unwrap();
    assert!(Child::fork(|| reader.seek(SeekFrom::End(0)).is_ok()).succeeded());
    reader.read_exact(&mut start[..10]).unwrap();
    assert_eq!(start[..10], bytes[5..15]);
}
