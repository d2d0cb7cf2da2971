//! Two stores behind one face, so that a benchmark treats them alike.
//!
//! Both are used as their documentation says for speed without a server: LMDB through heed with
//! `NO_SYNC` and `WRITE_MAP` and a transaction for each operation; firncache as it comes. Both copy a
//! value into a buffer that is used again.

use std::path::Path;
use std::sync::OnceLock;

use firncache::{Cache, PowerLoss};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;
/// Bytes that either store may take.
const LIMIT: usize = 8 << 30;

/// What is compared.
pub trait Engine {
    /// How it is called in the report.
    const NAME: &'static str;

    /// Opens the store in a directory, making it if need be.
    fn open(dir: &Path) -> Self;
    /// Stores a value.
    fn set(&self, key: &[u8; 16], value: &[u8]);
    /// Copies a value out; false if there is none.
    fn get(&self, key: &[u8; 16], out: &mut Vec<u8>) -> bool;
    /// Removes a value; false if there is none.
    fn delete(&self, key: &[u8; 16]) -> bool;
}

/// firncache with its defaults but for the limit: what is overwritten has reached the disk.
pub struct Firn(Cache);

/// firncache that never waits for the disk, and begins empty after power loss: that is the promise
/// which LMDB makes with `NO_SYNC`.
pub struct FirnClear(Firn);

impl Engine for FirnClear {
    const NAME: &'static str = "firncache, Clear";

    fn open(dir: &Path) -> FirnClear {
        let options = Cache::options().size_limit(LIMIT as u64).power_loss(PowerLoss::Clear);
        FirnClear(Firn(options.open(dir).expect("open the cache")))
    }

    fn set(&self, key: &[u8; 16], value: &[u8]) {
        self.0.set(key, value);
    }

    fn get(&self, key: &[u8; 16], out: &mut Vec<u8>) -> bool {
        self.0.get(key, out)
    }

    fn delete(&self, key: &[u8; 16]) -> bool {
        self.0.delete(key)
    }
}

impl Engine for Firn {
    const NAME: &'static str = "firncache";

    fn open(dir: &Path) -> Firn {
        Firn(Cache::options().size_limit(LIMIT as u64).open(dir).expect("open the cache"))
    }

    fn set(&self, key: &[u8; 16], value: &[u8]) {
        self.0.set_bytes(key, value).expect("set");
    }

    fn get(&self, key: &[u8; 16], out: &mut Vec<u8>) -> bool {
        self.0.get_bytes_into(key, out).expect("get")
    }

    fn delete(&self, key: &[u8; 16]) -> bool {
        self.0.delete(key).expect("delete")
    }
}

/// LMDB without syncs, writing through its map.
pub struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
}

impl Engine for Lmdb {
    const NAME: &'static str = "lmdb";

    fn open(dir: &Path) -> Lmdb {
        let mut options = EnvOpenOptions::new();
        options.map_size(LIMIT).max_readers(64);
        // SAFETY: the directory is this benchmark's own, and each process opens it once.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP).open(dir) };
        let env = env.expect("open LMDB");
        let mut transaction = env.write_txn().expect("begin");
        let database = env.create_database(&mut transaction, None).expect("create");
        transaction.commit().expect("commit");
        Lmdb { env, database }
    }

    fn set(&self, key: &[u8; 16], value: &[u8]) {
        let mut transaction = self.env.write_txn().expect("begin");
        self.database.put(&mut transaction, key, value).expect("put");
        transaction.commit().expect("commit");
    }

    fn get(&self, key: &[u8; 16], out: &mut Vec<u8>) -> bool {
        let transaction = self.env.read_txn().expect("begin");
        let Some(value) = self.database.get(&transaction, key).expect("get") else { return false };
        out.clear();
        out.extend_from_slice(value);
        true
    }

    fn delete(&self, key: &[u8; 16]) -> bool {
        let mut transaction = self.env.write_txn().expect("begin");
        let existed = self.database.delete(&mut transaction, key).expect("delete");
        transaction.commit().expect("commit");
        existed
    }
}

/// A directory for stores, which goes with what is returned.
pub fn tempdir() -> tempfile::TempDir {
    // Not /tmp, which may be in memory.
    tempfile::Builder::new().tempdir_in("/var/tmp").expect("make a directory")
}

/// The key number `index`: 16 bytes that look random, and no two alike.
pub fn key(index: u64) -> [u8; 16] {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut key = [b'k'; 16];
    for (digit, byte) in key.iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(mixed >> (4 * digit) & 15) as usize];
    }
    key
}

/// A value for the key number `index`, which does not compress: one of a few that were made before, so
/// that its making is not measured.
pub fn value(index: u64) -> &'static [u8; VALUE_BYTES] {
    static VALUES: OnceLock<Vec<[u8; VALUE_BYTES]>> = OnceLock::new();
    let values = VALUES.get_or_init(|| (0..COUNT).map(make_value).collect());
    &values[(index % COUNT) as usize]
}

/// How many values there are.
const COUNT: u64 = 256;

fn make_value(index: u64) -> [u8; VALUE_BYTES] {
    let mut seed = index | 1;
    std::array::from_fn(|_| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(index);
        (seed >> 56) as u8
    })
}
