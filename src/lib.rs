//! firncache: an embedded disk cache that many processes share without a server.
//!
//! A cache is a directory. Any number of processes open it at once, read it without a lock, and
//! write to it in turns that last about a microsecond. A write that has returned survives
//! `kill -9`; after [`Cache::sync`] it survives power loss, too. Nothing is ever repaired by hand,
//! and reading never executes anything that is stored.
//!
//! ```
//! use firncache::{Cache, SetOptions};
//! use std::time::Duration;
//!
//! # fn main() -> firncache::Result<()> {
//! let cache = Cache::temporary()?;
//! cache.set("answer", &42)?;
//! assert_eq!(cache.get::<i64>("answer")?, Some(42));
//!
//! let options = SetOptions::new().expire(Duration::from_secs(60)).tag("pages");
//! cache.set_with(("page", 7), &"<html>", options)?;
//! assert_eq!(cache.evict("pages")?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [`tutorial`] walks through everything, and [`from_python_diskcache`] is for those who come from
//! there.
//!
//! # Features
//!
//! | feature | | what it adds |
//! |---|---|---|
//! | `json` | on | the codec `Json` |
//! | `messagepack` | off | the codec `MessagePack` |
//! | `zstd` | off | `Compression::zstd`; builds the zstd library, so it needs a C compiler |
//! | `lz4` | off | `Compression::lz4`, in Rust |
//! | `macros` | off | the attribute `memoize`: functions whose results are kept in a cache |
//!
//! What one program stored by a feature, another needs the same feature to read; without it the
//! value is [`ErrorKind::Codec`], and the message names the feature.
//!
//! # How it is built
//!
//! One idea: *the log is the truth; the table is only a fast view of where things are in the log,
//! with a mark of how far it has been applied.* `docs/design.md` argues for it.
//!
//! A module imports only from the floors below its own:
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 7 | [`recipes`] | locks, semaphores, throttles and the like, upon a cache · `fanout`: several caches as one |
//! | 6 | `deque`, `index` | [`Deque`] and [`Index`], made of a cache |
//! | 5 | `cache` | the public [`Cache`]: meaning, time, policy, codecs |
//! | 4 | `holds` | names that are held and waited for, across processes |
//! | 3 | `store` | log, table and lock together: one durable map that processes share |
//! | 2 | `log` | append-only segments · `table`: buckets and entries |
//! | 1 | `format` | bytes and what they mean · `sys`: the operating system, and all unsafe code |
//! | 0 | `error`, `clock` | for everyone |
//!
//! Two walls: above `sys` there is no unsafe code, no pointer and no descriptor; above `store` no
//! offset, slot, segment or layout.
//!
//! The read path: `Cache::get` → `Store::get` (`store/read.rs`) → `lookup` (`table/lookup.rs`) →
//! `read` (`log/reader.rs`), and up again through expiry and codec. The write path:
//! `Cache::set_with` → `Store::write` (`store/session.rs`, the lock) → `Writer::put`
//! (`store/writer.rs`) → `append` → `apply` (`store/apply.rs`) → `flip` (`store/head.rs`), then
//! a bounded share of culling and compaction.

#![cfg_attr(loom, expect(dead_code, reason = "models build only the floors without files"))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("firncache maps its files as they are on disk: 64-bit little-endian machines only");
const _: () = assert!(1u16.to_le() == 1, "64-bit little-endian machines only");

#[cfg(not(loom))]
mod cache;
mod clock;
#[cfg(not(loom))]
mod deque;
mod error;
#[cfg(not(loom))]
mod fanout;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(not(loom))]
mod holds;
#[cfg(not(loom))]
mod index;
mod log;
#[cfg(all(test, loom))]
mod models;
#[cfg(not(loom))]
pub mod recipes;
#[cfg(not(loom))]
mod store;
mod sys;
mod table;

#[cfg(all(not(loom), feature = "json"))]
pub use crate::cache::codec::Json;
#[cfg(all(not(loom), feature = "messagepack"))]
pub use crate::cache::codec::MessagePack;
/// What the attribute [`macro@memoize`] writes down; not for use by hand.
#[cfg(all(not(loom), feature = "macros"))]
#[doc(hidden)]
pub use crate::cache::memoized::{Computing, Unkept, memoize_key, memoize_name, memoize_part};
#[cfg(not(loom))]
pub use crate::cache::{
    Cache,
    admin::{Finding, Report},
    codec::{Bincode, Codec, ReadValue},
    compression::Compression,
    entry::{Entry, SetOptions},
    iterate::{Items, Iter, SortedKeys},
    memoize::{MemoizeOptions, Memoized},
    options::{DEFAULT_TIMEOUT, Durability, Options},
    queue::{PushOptions, QueueOptions},
    stats::Stats,
    stream::ValueReader,
    transaction::Transaction,
};
pub use crate::clock::{Clock, SystemClock};
#[cfg(not(loom))]
pub use crate::deque::{Deque, DequeIter, DequeOptions};
pub use crate::error::{Error, ErrorKind, Result};
#[cfg(not(loom))]
pub use crate::fanout::{
    FanoutCache,
    options::{DEFAULT_FANOUT_TIMEOUT, DEFAULT_SHARDS, FanoutOptions},
    transaction::FanoutTransaction,
};
pub use crate::format::from_key::FromKey;
pub use crate::format::key::{Key, MAX_KEY_BYTES};
pub use crate::format::key_buf::{KeyBuf, ToKey};
pub use crate::format::queue::Side;
pub use crate::format::settings::{
    DEFAULT_CULL_LIMIT, DEFAULT_SIZE_LIMIT, DEFAULT_VALUE_FILE_THRESHOLD, Eviction,
    MAX_VALUE_FILE_THRESHOLD, PowerLoss, Settings,
};
#[cfg(not(loom))]
pub use crate::index::{Index, iterate::IndexIter, options::IndexOptions};
pub use erased_serde;
#[cfg(all(not(loom), feature = "macros"))]
pub use firncache_macros::memoize;

/// The README's examples, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/tutorial.md")]
pub mod tutorial {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/from-python-diskcache.md")]
pub mod from_python_diskcache {}
