//! Removing by label.

use crate::cache::Cache;
use crate::cache::entry::encode_tag;
use crate::error::Result;
use crate::format::entry::{filter_bit, tag_hash};
use crate::format::key_buf::ToKey;
use crate::store::Writer;
use crate::store::writer::Found;

impl Cache {
    /// Removes every item with a tag, expired ones too; gives their number. In short steps: other
    /// writers get in between.
    ///
    /// Pages of 64 keys in which no item has the tag are skipped. Null is no tag, and finds
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), whose message says how far it got;
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for what cannot be a tag.
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_with("a", &1, SetOptions::new().tag("v1"))?;
    /// cache.set_with("b", &2, SetOptions::new().tag("v2"))?;
    /// assert_eq!(cache.evict("v1")?, 1);
    /// assert!(!cache.contains("a")? && cache.contains("b")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn evict(&self, tag: impl ToKey) -> Result<u64> {
        let Some(tag) = encode_tag(&tag).map_err(|error| self.here(error))? else { return Ok(0) };
        let tag = tag.as_bytes();
        let hash = tag_hash(tag);
        let (mut read, mut value) = (Vec::new(), Vec::new());
        let mut has_tag = |writer: &Writer<'_>, found: &Found| {
            Ok(usize::from(found.header.tag_len) == tag.len()
                && writer.read(found, &mut read, &mut value)?
                && read == tag)
        };
        let has_tag = std::cell::RefCell::new(&mut has_tag);
        self.remove_all(
            0,
            |page| page.tag_filter & filter_bit(hash) != 0,
            |writer, view| {
                if view.deadline.tag_hash() != hash {
                    return Ok(false);
                }
                let Some(found) = writer.found(view)? else { return Ok(false) };
                (has_tag.borrow_mut())(writer, &found)
            },
            |writer, found| (has_tag.borrow_mut())(writer, found),
        )
    }
}
