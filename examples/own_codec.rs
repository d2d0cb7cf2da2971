//! A codec of one's own: how values are stored that have no native form.
//!
//! ```text
//! cargo run --example own_codec
//! ```
//!
//! The codec here writes bincode and mixes every byte with a password, so that no value can be read
//! off the disk at a glance. (It hides; it does not protect: for secrets, encrypt at this place.)
//!
//! ```text
//! cache.set(key, &value)                              cache.get(key)
//!        |                                                   ^
//!     Serialize                                         Deserialize
//!        v                                                   |
//! Codec::encode: append bytes  ---- kept with the id --->  Codec::decode: a deserializer over them
//! ```
//!
//! Null, booleans, numbers, text and bytes never come to a codec: they are stored as such, so that
//! every program can read and count them.

use firncache::{Bincode, Cache, Codec, Error, ErrorKind, ReadValue, Result, erased_serde};
use serde::{Deserialize, Serialize};

/// Bincode, mixed with a password.
struct Hidden {
    password: &'static [u8],
}

impl Hidden {
    /// Mixes, and undoes it: what is mixed twice is as it was.
    fn mix(&self, bytes: &mut [u8]) {
        for (byte, letter) in bytes.iter_mut().zip(self.password.iter().cycle()) {
            *byte ^= letter;
        }
    }
}

impl Codec for Hidden {
    // Kept with every value, so it stays the same for ever: a codec that writes other bytes needs
    // another number. 64 to 239 are free; programs that share a cache must agree on them.
    fn id(&self) -> u8 {
        117
    }

    // For messages.
    fn name(&self) -> &str {
        "hidden"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        // What is in `out` already is not ours.
        let start = out.len();
        // Other formats are used alike: their errors become `Error::codec(..)`.
        Bincode.encode(value, out)?;
        // Whoever reads must be able to tell a wrong password, so the value gets an end mark.
        out.extend_from_slice(b"end");
        self.mix(&mut out[start..]);
        Ok(())
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        let mut plain = bytes.to_vec();
        self.mix(&mut plain);
        // The bytes may be anything: refuse what cannot be right, with the cure, and never panic.
        let value = plain.strip_suffix(b"end").ok_or_else(|| {
            Error::codec("the value is hidden with another password: open the cache with that one")
        })?;
        // `read` has to be called once, with a deserializer; Bincode does it here.
        Bincode.decode(value, read)
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Patient {
    name: String,
    born: u16,
}

fn main() -> Result<()> {
    // A cache of its own, so that the example leaves nothing behind.
    let temporary = Cache::temporary()?;
    let directory = temporary.directory();

    let cache = Cache::options().codec(Hidden { password: b"owl" }).open(directory)?;
    let ada = Patient { name: "Ada".into(), born: 1815 };
    cache.set("patient", &ada)?;
    assert_eq!(cache.get("patient")?, Some(ada));
    println!("with the codec:        the patient is read back");

    // A handle without the codec cannot read the value, and says which one it takes.
    let other = Cache::open(directory)?;
    let error = expect_error(other.get::<Patient>("patient"));
    println!("without the codec:     {error}");

    // Nor can one with the wrong password; that is for the codec to say.
    let wrong = Cache::options().codec(Hidden { password: b"cat" }).open(directory)?;
    let error = expect_error(wrong.get::<Patient>("patient"));
    println!("with another password: {error}");

    // It reads all else: what has a native form, and what a codec of firncache wrote.
    other.set("visits", &2)?;
    other.set("beds", &vec![101, 102])?;
    assert_eq!(cache.incr("visits", 1)?, 3);
    assert_eq!(cache.get("beds")?, Some(vec![101, 102]));
    println!("with the codec:        what other handles stored is read, too");
    Ok(())
}

/// The error of a read that must not succeed; of the kind that codecs have.
fn expect_error(read: Result<Option<Patient>>) -> Error {
    match read {
        Err(error) if error.kind() == ErrorKind::Codec => error,
        other => panic!("this value cannot be read here, but: {other:?}"),
    }
}
