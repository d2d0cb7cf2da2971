//! The write path: append, commit, apply.

use crate::error::{Error, Result};
use crate::format::entry::PAGE_ENTRIES;
use crate::format::key::CONTROL_KEY;
use crate::format::location::Location;
use crate::format::record::{CONTROL, FILE, FileRef, Header, KEEP_ACCESS, Kind};
use crate::log::{reader, writer::write_record};
use crate::store::apply::Record;
use crate::store::transaction::Own;
use crate::store::values::Staged;
use crate::store::{HashedKey, Writer};
use crate::sys::sync::AtomicU64;
use crate::table::lookup::{Verdict, lookup};
use crate::table::{Space, pages};

/// The current record of a key, as a writer found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) place: FoundAt,
    pub(crate) entry: u32,
    pub(crate) header: Header,
}

/// Where a found record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FoundAt {
    Log(Location),
    /// In the open transaction of this thread.
    Own(Own),
}

/// What a key is to hold from now on.
pub(crate) struct Put<'a> {
    pub(crate) value_kind: u8,
    pub(crate) value: PutValue<'a>,
    pub(crate) tag: &'a [u8],
    pub(crate) expires_ms: u64,
    pub(crate) stored_ms: u64,
    /// Whether the entry's time of access and uses stay as they are.
    pub(crate) keep_access: bool,
}

/// The value of a [`Put`].
pub(crate) enum PutValue<'a> {
    Bytes(&'a [u8]),
    /// A file that was written beside the store and is to become the value.
    Staged(Staged),
    /// The file that the key's record names already.
    File(FileRef),
}

impl<'a> Writer<'a> {
    /// The words of a segment.
    pub(crate) fn words(&self, at: Location) -> Result<Option<&'a [AtomicU64]>> {
        self.shared.segment(at.segment())
    }

    /// The header of the record at `at`, if it is sound.
    pub(crate) fn header(&self, at: Location) -> Result<Option<Header>> {
        let store_id = self.shared.identity.store_id;
        Ok(self.words(at)?.and_then(|words| reader::header(words, store_id, at)))
    }

    /// A key with its hash.
    pub(crate) fn hashed<'b>(&self, bytes: &'b [u8]) -> HashedKey<'b> {
        HashedKey { bytes, hash: self.shared.hash(bytes) }
    }

    /// Finds the current record of a key, expired or not.
    pub(crate) fn find(&self, key: HashedKey<'_>) -> Result<Option<Found>> {
        if let Some(overlay) = &self.session.overlay
            && let Some(known) = overlay.find(key.bytes)
        {
            return Ok(known);
        }
        self.find_in_log(key)
    }

    fn find_in_log(&self, key: HashedKey<'_>) -> Result<Option<Found>> {
        let mut failure = None;
        let failures = self.shared.table.failures();
        let store_id = self.shared.identity.store_id;
        let found = lookup(&self.shared.table, key.hash, |candidate| {
            let at = candidate.slot.location();
            let mut words = match self.words(at) {
                Ok(Some(words)) => words,
                Ok(None) => return Verdict::Other,
                Err(error) => {
                    failure = Some(error);
                    return Verdict::Other;
                }
            };
            let mut header = reader::header(words, store_id, at);
            if header.is_none()
                && let Ok(Some(afresh)) = self.shared.reopen_segment(at.segment())
            {
                // The map was of a file that was begun in vain: as for readers.
                self.active.take();
                words = afresh;
                header = reader::header(words, store_id, at);
            }
            match header {
                Some(header) if reader::has_key(words, at, &header, key.bytes) => {
                    let entry = candidate.entry();
                    pages::prefetch_entry(&self.shared.table, entry);
                    self.at_hand.set(Some(candidate.place()));
                    Verdict::Found(Found { place: FoundAt::Log(at), entry, header })
                }
                _ => Verdict::Other,
            }
        });
        match (found, failure) {
            (None, Some(error)) => Err(error),
            (None, None) if self.shared.table.failures() != failures => {
                Err(self.shared.table.unmapped())
            }
            (found, _) => Ok(found),
        }
    }

    /// Copies tag and value of a found record. False if the record is damaged.
    pub(crate) fn read(
        &self,
        found: &Found,
        tag: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<bool> {
        let at = match found.place {
            FoundAt::Own(own) => {
                return Ok(self
                    .session
                    .overlay
                    .as_ref()
                    .is_some_and(|it| it.read(own, tag, value)));
            }
            FoundAt::Log(at) => at,
        };
        let Some(words) = self.words(at)? else { return Ok(false) };
        let Some(header) = reader::body(words, self.shared.identity.store_id, at, value) else {
            self.shared.head.count_damaged();
            return Ok(false);
        };
        tag.clear();
        tag.extend_from_slice(&value[..usize::from(header.tag_len)]);
        value.drain(..header.front_len());
        Ok(true)
    }

    /// Stores a value; `found` is what [`Writer::find`] gave for the key.
    pub(crate) fn put(
        &mut self,
        key: HashedKey<'_>,
        found: Option<&Found>,
        put: Put<'_>,
    ) -> Result<()> {
        if found.is_none() && self.has_controls() {
            self.widen_for(key.bytes, put.stored_ms)?;
        }
        self.put_within_bounds(key, found, put)
    }

    /// As [`Writer::put`], for a key that is no item of a queue or lies within its bounds.
    pub(crate) fn put_within_bounds(
        &mut self,
        key: HashedKey<'_>,
        found: Option<&Found>,
        put: Put<'_>,
    ) -> Result<()> {
        if self.session.overlay.is_some() {
            return self.put_in_transaction(key, found, put);
        }
        let file = match &put.value {
            PutValue::Bytes(_) => None,
            PutValue::Staged(staged) => Some(staged.reference()),
            PutValue::File(file) => Some(*file),
        };
        let file_bytes = file.map(FileRef::encode);
        let value = match (&put.value, &file_bytes) {
            (PutValue::Bytes(bytes), _) => *bytes,
            (_, Some(bytes)) => &bytes[..],
            (_, None) => &[],
        };
        let mut header = header_of(key.bytes, &put, value.len(), file.is_some());
        self.room_for_put(header.units())?;
        let old = found.map(|found| found.header);
        match found {
            Some(Found { place: FoundAt::Log(at), entry, header: old }) => {
                header.previous = *at;
                header.entry = *entry;
                header.row = old.row;
            }
            _ => {
                self.vacancy_for(key.hash)?;
                header.entry = self.next_entry()?;
                header.row = self.state.next_row;
            }
        }
        self.reach(header.entry)?;
        let mut staged = match put.value {
            PutValue::Staged(staged) => Some(staged),
            _ => None,
        };
        if let Some(staged) = &mut staged {
            staged.publish()?;
        }
        let at = self.append(&header, &[put.tag, key.bytes, value])?;
        self.shared.head.set_tail(self.tail);
        if let Some(staged) = staged {
            staged.keep();
        }
        let (hash, tag) = (key.hash, put.tag);
        let place = self.at_hand.take();
        self.apply(&Record { at, header, hash, tag, arguments: [0; 3], old, place })?;
        self.maintain(header.units() + old.map_or(0, |old| old.units()))
    }

    /// Removes a found key. `flags` say why: 0, `CULLED` or `EXPIRED`.
    pub(crate) fn remove(&mut self, key: HashedKey<'_>, found: &Found, flags: u8) -> Result<()> {
        if self.session.overlay.is_some() {
            return self.remove_in_transaction(key.bytes, found, flags);
        }
        let FoundAt::Log(at) = found.place else { return Ok(()) };
        let flags = flags | found.header.flags & CONTROL;
        let (entry, old) = (found.entry, Some(found.header));
        let header = Header { flags, entry, previous: at, ..Header::job(Kind::Delete, 0) };
        self.remove_with(header, key.hash, old)
    }

    /// Removes the key whose current record is at `at`, whether that record is sound or not.
    pub(crate) fn remove_at(&mut self, at: Location, entry: u32, flags: u8) -> Result<()> {
        let old = self.header(at)?;
        let flags = flags | old.map_or(0, |old| old.flags & CONTROL);
        let header = Header { flags, entry, previous: at, ..Header::job(Kind::Delete, 0) };
        self.remove_with(header, 0, old)
    }

    fn remove_with(&mut self, header: Header, hash: u64, old: Option<Header>) -> Result<()> {
        self.room_for_job(header.units())?;
        self.reach(header.entry)?;
        let at = self.append(&header, &[])?;
        let job = Record::job(at, header, [0; 3]);
        self.commit_one(&Record { old, hash, place: self.at_hand.take(), ..job })?;
        let dead = header.units() + old.map_or(0, |old| old.units());
        self.maintain_after_removal(header.entry, dead)
    }

    /// Makes sure that applying will find the page of an entry: before anything is committed.
    pub(crate) fn reach(&self, entry: u32) -> Result<()> {
        match self.shared.table.page(entry / PAGE_ENTRIES as u32) {
            Some(_) => Ok(()),
            None => Err(self.shared.table.unmapped()),
        }
    }

    /// Appends a job of the store itself and applies it.
    pub(crate) fn job(&mut self, kind: Kind, arguments: &[u64]) -> Result<()> {
        let header = Header::job(kind, arguments.len());
        self.room_for_job(header.units())?;
        self.job_without_room(header, arguments)
    }

    /// As [`Writer::job`], where the caller has made room.
    pub(crate) fn job_without_room(&mut self, header: Header, arguments: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = arguments.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.append(&header, &[&bytes])?;
        let mut padded = [0; 3];
        for (to, from) in padded.iter_mut().zip(arguments) {
            *to = *from;
        }
        self.commit_one(&Record::job(at, header, padded))
    }

    /// Writes a record at the end of the log. Nothing counts before the commit.
    pub(crate) fn append(&mut self, header: &Header, body: &[&[u8]]) -> Result<Location> {
        self.begin_changes()?;
        let at = self.tail;
        self.make_ready(at, header.units());
        let store_id = self.shared.identity.store_id;
        let mut scratch = std::mem::take(&mut self.session.record);
        let written = self
            .active_words()?
            .is_some_and(|words| write_record(words, store_id, at, header, body, &mut scratch));
        self.session.record = scratch;
        if !written {
            let path = self.shared.dir.join(&at.segment().file_name());
            return Err(Error::corrupt(&path, "the active segment of the log is missing"));
        }
        self.tail = at.plus(header.units());
        Ok(at)
    }

    /// Appends the record of a key again, with a new header and the body that it has.
    pub(crate) fn put_again(&mut self, header: &Header, body: &[u8], hash: u64) -> Result<()> {
        let at = self.append(header, &[body])?;
        let tag = &body[..usize::from(header.tag_len)];
        let (arguments, old, place) = ([0; 3], Some(*header), self.at_hand.take());
        self.commit_one(&Record { at, header: *header, hash, tag, arguments, old, place })
    }

    fn commit_one(&mut self, record: &Record<'_>) -> Result<()> {
        self.shared.head.set_tail(self.tail);
        self.apply(record)
    }
}

/// The header of a put, without what the found record decides.
pub(crate) fn header_of(key: &[u8], put: &Put<'_>, value_len: usize, is_file: bool) -> Header {
    let is_control = key.first() == Some(&CONTROL_KEY);
    let flags = [(is_file, FILE), (put.keep_access, KEEP_ACCESS), (is_control, CONTROL)];
    Header {
        flags: flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum(),
        value_kind: put.value_kind,
        tag_len: put.tag.len() as u16,
        key_len: key.len() as u32,
        value_len: value_len as u32,
        expires_ms: put.expires_ms,
        stored_ms: put.stored_ms,
        ..Header::job(Kind::Put, 0)
    }
}
