//! Transactions: own writes are kept in memory until the commit, and forgotten at a rollback.
//!
//! At the commit the net effect of each key is appended as flagged records, then the commit record
//! that binds their start and number, then a record that says "settle". One store of `tail`
//! commits. Applying marks every slot it touches as pending, and one flip of `applied` makes the
//! whole visible: a reader that meets a pending slot takes the record it names if that lies before
//! `applied`, and the record before it if not. Settling takes the marks away.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::ReentrantMutexGuard;

use crate::error::{Error, ErrorKind, Result};
use crate::format::location::{Location, Segment};
use crate::format::record::{CONTROL, FileRef, Header, Kind, TRANSACTION};
use crate::format::slot::bucket_of;
use crate::store::session::Session;
use crate::store::values::Staged;
use crate::store::writer::{Found, FoundAt, Put, PutValue, header_of};
use crate::store::{HashedKey, Store, Writer};
use crate::sys::raw::process_token;

/// Which change of the open transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Own(usize);

/// The writes of an open transaction.
#[derive(Default)]
pub(crate) struct Overlay {
    changes: Vec<Change>,
    /// The latest change of each key.
    by_key: HashMap<Vec<u8>, usize>,
    /// The change that replaces or removes the record at a location.
    by_previous: HashMap<u64, usize>,
    /// How many nested transactions are open.
    pub(crate) depth: u32,
    pub(crate) len: i64,
    pub(crate) controls: i64,
    pub(crate) live_bytes: i64,
    pub(crate) file_bytes: i64,
}

struct Change {
    key: Vec<u8>,
    hash: u64,
    /// The record before the transaction that this change replaces or removes.
    previous: Option<(Location, u32, Header)>,
    flags: u8,
    new: Option<New>,
}

struct New {
    header: Header,
    tag: Vec<u8>,
    value: Vec<u8>,
    staged: Option<Staged>,
}

impl Overlay {
    /// What this transaction knows of a key: `None` if it has not touched it.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Option<Found>> {
        let index = *self.by_key.get(key)?;
        let change = &self.changes[index];
        Some(change.new.as_ref().map(|new| Found {
            place: FoundAt::Own(Own(index)),
            entry: change.previous.map_or(0, |(_, entry, _)| entry),
            header: new.header,
        }))
    }

    /// Whether the record at `location` is replaced or removed here.
    pub(crate) fn replaces(&self, location: Location) -> Option<Option<Found>> {
        let change = &self.changes[*self.by_previous.get(&location.bits())?];
        // A key that was removed and stored again counts as a new one, at the end.
        Some(if change.new.is_some() { self.find(&change.key).flatten() } else { None })
    }

    /// Changes made so far, those that came to nothing included.
    pub(crate) fn len_of_changes(&self) -> usize {
        self.changes.len()
    }

    /// The key put by the change `index`, if it replaces no record.
    pub(crate) fn added(&self, index: usize) -> Option<Found> {
        let change = self.changes.get(index)?;
        let new = change.new.as_ref().filter(|_| change.previous.is_none())?;
        Some(Found { place: FoundAt::Own(Own(index)), entry: 0, header: new.header })
    }

    /// All keys put here.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&[u8], Found)> {
        self.changes.iter().enumerate().filter_map(|(index, change)| {
            let new = change.new.as_ref()?;
            let entry = change.previous.map_or(0, |(_, entry, _)| entry);
            let place = FoundAt::Own(Own(index));
            Some((&change.key[..], Found { place, entry, header: new.header }))
        })
    }

    pub(crate) fn key(&self, own: Own) -> &[u8] {
        self.changes.get(own.0).map_or(&[], |change| &change.key)
    }

    pub(crate) fn read(&self, own: Own, tag: &mut Vec<u8>, value: &mut Vec<u8>) -> bool {
        let Some(new) = self.changes.get(own.0).and_then(|change| change.new.as_ref()) else {
            return false;
        };
        tag.clone_from(&new.tag);
        value.clone_from(&new.value);
        true
    }

    /// The present name of a file that this transaction has staged.
    pub(crate) fn staged_name(&self, file: FileRef) -> Option<String> {
        let mut staged = self.changes.iter().filter_map(|it| it.new.as_ref()?.staged.as_ref());
        staged.find(|it| it.reference() == file).map(|it| it.name().to_owned())
    }

    fn account(&mut self, header: &Header, value: &[u8], sign: i64) {
        self.live_bytes += sign * (8 * header.units() as i64);
        if header.is_file() {
            let bytes = FileRef::decode(value).map_or(0, FileRef::disk_bytes);
            self.file_bytes += sign * bytes as i64;
        }
    }
}

impl Writer<'_> {
    pub(crate) fn put_in_transaction(
        &mut self,
        key: HashedKey<'_>,
        found: Option<&Found>,
        put: Put<'_>,
    ) -> Result<()> {
        let value = match &put.value {
            PutValue::Bytes(bytes) => bytes.to_vec(),
            PutValue::File(file) => file.encode().to_vec(),
            PutValue::Staged(staged) => staged.reference().encode().to_vec(),
        };
        let is_file = !matches!(put.value, PutValue::Bytes(_));
        let mut header = header_of(key.bytes, &put, value.len(), is_file);
        let tag = put.tag.to_vec();
        let staged = match put.value {
            PutValue::Staged(staged) => Some(staged),
            _ => None,
        };
        let old_file = match found {
            Some(found) if matches!(found.place, FoundAt::Log(_)) => {
                let mut scratch = (Vec::new(), Vec::new());
                self.read(found, &mut scratch.0, &mut scratch.1)?;
                scratch.1
            }
            _ => Vec::new(),
        };
        header.row = found.map_or(0, |found| found.header.row);
        let Some(overlay) = &mut self.session.overlay else { return Ok(()) };
        overlay.account(&header, &value, 1);
        let mut new = New { header, tag, value, staged };
        match found.map(|found| (found.place, found)) {
            Some((FoundAt::Own(Own(index)), _)) => {
                let change = &mut overlay.changes[index];
                if let Some(old) = change.new.take() {
                    // A file that this transaction staged and still names goes on.
                    if new.staged.is_none() && new.header.is_file() && old.value == new.value {
                        new.staged = old.staged;
                    }
                    change.new = Some(new);
                    overlay.account(&old.header, &old.value, -1);
                }
            }
            Some((FoundAt::Log(at), found)) => {
                overlay.account(&found.header, &old_file, -1);
                overlay.push(key, Some((at, found.entry, found.header)), 0, Some(new));
            }
            None => {
                overlay.len += 1;
                overlay.controls += i64::from(header.is_control());
                overlay.push(key, None, 0, Some(new));
            }
        }
        Ok(())
    }

    pub(crate) fn remove_in_transaction(
        &mut self,
        key: &[u8],
        found: &Found,
        flags: u8,
    ) -> Result<()> {
        let (mut tag, mut value) = (Vec::new(), Vec::new());
        self.read(found, &mut tag, &mut value)?;
        let key = HashedKey { bytes: key, hash: self.shared.hash(key) };
        let Some(overlay) = &mut self.session.overlay else { return Ok(()) };
        overlay.account(&found.header, &value, -1);
        overlay.len -= 1;
        overlay.controls -= i64::from(found.header.is_control());
        let flags = flags | found.header.flags & CONTROL;
        match found.place {
            FoundAt::Own(Own(index)) => {
                let change = &mut overlay.changes[index];
                change.new = None;
                change.flags = flags;
            }
            FoundAt::Log(at) => {
                overlay.push(key, Some((at, found.entry, found.header)), flags, None);
            }
        }
        Ok(())
    }
}

impl Overlay {
    fn push(
        &mut self,
        key: HashedKey<'_>,
        previous: Option<(Location, u32, Header)>,
        flags: u8,
        new: Option<New>,
    ) {
        let index = self.changes.len();
        if let Some((at, _, _)) = previous {
            self.by_previous.insert(at.bits(), index);
        }
        self.by_key.insert(key.bytes.to_vec(), index);
        let key_bytes = key.bytes.to_vec();
        self.changes.push(Change { key: key_bytes, hash: key.hash, previous, flags, new });
    }
}

/// An open transaction of this thread. Dropped without a commit, it is rolled back.
pub(crate) struct OpenTransaction<'a> {
    store: &'a Store,
    token: u64,
    guard: Option<ReentrantMutexGuard<'a, RefCell<Session>>>,
}

impl Store {
    /// Begins a transaction, or joins the one that this thread has open on this store.
    pub(crate) fn begin(&self, timeout: Duration) -> Result<OpenTransaction<'_>> {
        let guard = self.0.own_thread(timeout)?;
        self.write(timeout, |writer| {
            writer.session.overlay.get_or_insert_default().depth += 1;
            Ok(())
        })?;
        Ok(OpenTransaction { store: self, token: process_token(), guard: Some(guard) })
    }
}

impl OpenTransaction<'_> {
    /// Commits: with the outermost of nested transactions, everything becomes visible at once.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.end(true)
    }

    fn parents(&self) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "the transaction was begun before a fork and belongs to the parent process; begin \
             another in this one",
        )
        .at(self.store.directory())
    }

    fn end(&mut self, commit: bool) -> Result<()> {
        let Some(guard) = self.guard.take() else { return Ok(()) };
        if self.token != process_token() {
            // The transaction is the parent's: in a forked child there is nothing to do.
            std::mem::forget(guard);
            return if commit { Err(self.parents()) } else { Ok(()) };
        }
        let result = self.store.write(Duration::ZERO, |writer| {
            let Some(mut overlay) = writer.session.overlay.take() else { return Ok(()) };
            overlay.depth -= 1;
            if overlay.depth > 0 {
                writer.session.overlay = Some(overlay);
                return Ok(());
            }
            if commit { writer.commit(overlay) } else { Ok(()) }
        });
        drop(guard);
        self.store.shared().sync_if_due();
        result
    }
}

impl Drop for OpenTransaction<'_> {
    fn drop(&mut self) {
        // A rollback forgets what is in memory; it cannot fail.
        let _ = self.end(false);
    }
}

impl Writer<'_> {
    fn commit(&mut self, overlay: Overlay) -> Result<()> {
        let (removed, put): (Vec<_>, Vec<_>) = overlay
            .changes
            .into_iter()
            .filter(|change| change.new.is_some() || change.previous.is_some())
            .partition(|change| change.new.is_none());
        if removed.is_empty() && put.is_empty() {
            return Ok(());
        }
        for (_, entry, _) in removed.iter().chain(&put).filter_map(|change| change.previous) {
            self.reach(entry)?;
        }
        let entries = self.prepare_commit(&put)?;
        let (before, tail) = (*self.state, self.tail);
        self.session.is_gathering = true;
        let gathered = self.gather(&removed, put, entries);
        self.session.is_gathering = false;
        if gathered.is_err() {
            self.forget_begun(tail.segment());
            // If that fails, too, the next write does it.
            let _ = self.blank_behind(tail);
        }
        let (units, published) = gathered?;
        self.shared.head.set_tail(self.tail);
        published.into_iter().for_each(Staged::keep);
        *self.state = before;
        self.recover()?;
        for change in &removed {
            if let Some((_, entry, old)) = change.previous {
                self.maintain_after_removal(entry, old.units())?;
            }
        }
        self.maintain(units)
    }

    /// After an error nothing is committed: the segments that were begun behind `last` will be other
    /// files when they are begun again. One more may be in the making.
    pub(crate) fn forget_begun(&mut self, last: Segment) {
        self.session.active = None;
        let (mut begun, end) = (last, self.tail.segment().next());
        while begun != end {
            begun = begun.next();
            self.shared.log.forget(begun);
        }
    }

    /// Makes ready everything in the table that the commit will need; the new keys' entries.
    fn prepare_commit(&mut self, put: &[Change]) -> Result<Vec<u32>> {
        let added = || put.iter().filter(|change| change.previous.is_none());
        let buckets = self.state.geometry.buckets();
        let mut chains: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        for change in added() {
            chains.entry(bucket_of(change.hash, buckets)).or_insert((change.hash, 0)).1 += 1;
        }
        for (hash, count) in chains.into_values() {
            self.vacancies_for(hash, count)?;
        }
        self.entries_for(added().count())
    }

    fn gather(
        &mut self,
        removed: &[Change],
        put: Vec<Change>,
        entries: Vec<u32>,
    ) -> Result<(u64, Vec<Staged>)> {
        let (mut start, mut count, mut units) = (None, 0u64, 0);
        for change in removed {
            let Some((previous, entry, _)) = change.previous else { continue };
            let flags = change.flags | TRANSACTION;
            let header = Header { flags, entry, previous, ..Header::job(Kind::Delete, 0) };
            self.room_for_job(header.units())?;
            let at = self.append(&header, &[])?;
            start.get_or_insert(at);
            (count, units) = (count + 1, units + header.units());
        }
        let (mut entries, mut row) = (entries.into_iter(), self.state.next_row);
        let mut published = Vec::new();
        for change in put {
            let Some(new) = change.new else { continue };
            let mut header = new.header;
            header.flags |= TRANSACTION;
            match change.previous {
                Some((previous, entry, old)) => {
                    (header.previous, header.entry, header.row) = (previous, entry, old.row);
                }
                None => {
                    header.entry = entries.next().unwrap_or(u32::MAX);
                    header.row = row;
                    row += 1;
                }
            }
            if let Some(mut staged) = new.staged {
                staged.publish()?;
                published.push(staged);
            }
            self.room_for_put(header.units())?;
            let at = self.append(&header, &[&new.tag, &change.key, &new.value])?;
            start.get_or_insert(at);
            (count, units) = (count + 1, units + header.units());
        }
        let start = start.unwrap_or(self.tail);
        // For both at once: a rebuild takes what has its commit record for committed, so nothing may
        // fail behind that.
        self.room_for_job(2 * Header::job(Kind::Commit, 2).units())?;
        for (kind, second) in [(Kind::Commit, count), (Kind::Settle, 0)] {
            let header = Header::job(kind, 2);
            self.append(&header, &[&start.bits().to_le_bytes(), &second.to_le_bytes()])?;
        }
        Ok((units, published))
    }
}
