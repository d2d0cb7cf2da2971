//! Looking at everything: does the table say what the log says?

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::format::entry::{Deadline, tag_hash};
use crate::format::key::CONTROL_KEY;
use crate::format::location::Location;
use crate::format::queue::{Bounds, Queue};
use crate::format::record::Kind;
use crate::format::segment::HEADER_UNITS;
use crate::format::slot::SLOTS;
use crate::log::reader;
use crate::store::page_walk::PageCursor;
use crate::store::recover::key_in;
use crate::store::{Store, Writer};
use crate::sys::sync::Ordering;
use crate::table::lookup::chain;
use crate::table::pages::EntryView;
use crate::table::publish;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// What a check has added up, to be compared with the counters.
#[derive(Default)]
struct Sums {
    len: u64,
    controls: u64,
    live_bytes: u64,
    file_bytes: u64,
    pages: u64,
    rows: HashSet<u64>,
    last_row: Option<u64>,
}

impl Store {
    /// Reads every key and compares table, log, value files and counters. Holds the lock.
    pub(crate) fn check(&self, timeout: Duration) -> Result<Vec<Finding>> {
        self.write(timeout, |writer| writer.check())
    }
}

impl Writer<'_> {
    fn check(&mut self) -> Result<Vec<Finding>> {
        let failures = self.shared.table.failures();
        let mut findings = Vec::new();
        let mut sums = Sums::default();
        let mut cursor = PageCursor::default();
        while let Some(page) = self.page(&mut cursor)? {
            if sums.pages == self.state.listed_pages {
                let what = format!("the list of pages goes on after {} pages", sums.pages);
                findings.push(self.finding("entries", &what));
                break;
            }
            sums.pages += 1;
            for view in &page.entries {
                self.check_entry(view, &mut sums, &mut findings)?;
                if view.deadline.expires_ms() < page.min_expiry_ms {
                    findings
                        .push(self.finding("entries", "an expiry lies before its page's bound"));
                }
            }
        }
        let slots = self.count_slots();
        let state = &*self.state;
        let counters = [
            ("keys", state.len, sums.len),
            ("keys of its own", state.controls, sums.controls),
            ("keys in buckets", state.len, slots),
            ("live bytes", state.live_bytes, sums.live_bytes),
            ("value file bytes", state.file_bytes, sums.file_bytes),
            ("pages", state.listed_pages, sums.pages),
        ];
        for (what, counted, found) in counters {
            if counted != found {
                let what = format!("{what}: counted {counted}, found {found}");
                findings.push(self.finding("head", &what));
            }
        }
        self.check_log(&mut findings)?;
        // What could not be mapped is no finding.
        self.shared.table.believe(failures)?;
        Ok(findings)
    }

    fn finding(&self, name: &str, what: &str) -> Finding {
        Finding { path: self.shared.dir.join(name), what: what.to_owned() }
    }

    fn check_entry(
        &self,
        view: &EntryView,
        sums: &mut Sums,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let at = view.slot.location();
        let name = at.segment().file_name();
        let mut body = Vec::new();
        let header = self
            .words(at)?
            .and_then(|words| reader::body(words, self.shared.identity.store_id, at, &mut body));
        let Some(header) = header.filter(|header| header.kind == Kind::Put) else {
            let what = format!("the record of a key at byte {} is damaged", 8 * at.unit());
            findings.push(self.finding(&name, &what));
            return Ok(());
        };
        sums.len += 1;
        sums.controls += u64::from(header.is_control());
        sums.live_bytes += 8 * header.units();
        let mut problem = |what: &str| {
            let what = format!("the key of the record at byte {}: {what}", 8 * at.unit());
            findings.push(self.finding(&name, &what));
        };
        let hash = self.shared.hash(key_in(&header, &body));
        if hash != view.hash {
            problem("its entry has another hash");
        }
        if header.is_control() != (key_in(&header, &body).first() == Some(&CONTROL_KEY)) {
            problem("its flag and its key differ about whose it is");
        }
        if self.state.controls != 0
            && let Some((queue, number)) = Queue::of_item(key_in(&header, &body))
            && let Some(bounds) = self.bounds(&queue)?.filter(Bounds::is_whole)
            && !bounds.contains(number)
        {
            problem("it lies beyond the bounds of its queue");
        }
        let buckets = self.state.geometry.buckets();
        match publish::find(&self.shared.table, buckets, hash, at) {
            None => problem("no bucket names it"),
            Some(place) if place.entry() != view.number => problem("its bucket has another entry"),
            Some(place) if place.slot() != view.slot => problem("bucket and entry differ"),
            Some(_) if view.slot.is_pending() => problem("it is marked as of a transaction"),
            Some(_) => {}
        }
        if header.entry != view.number && self.is_numbered(at) {
            problem("it names another entry");
        }
        let tag = tag_hash(&body[..usize::from(header.tag_len)]);
        if view.deadline != Deadline::new(header.expires_ms, tag) {
            problem("its entry has another expiry or tag");
        }
        if !sums.rows.insert(header.row) {
            problem("another key has the same row");
        }
        if sums.last_row.replace(header.row).is_some_and(|last| last > header.row) {
            problem("it is not in the order of insertion");
        }
        if header.expires_ms < self.state.min_expiry_ms {
            problem("it expires before the earliest expiry that is known");
        }
        if let Some(file) = self.file_of(at, &header)? {
            sums.file_bytes += file.disk_bytes();
            if self.shared.open_value_file(file)?.is_none() {
                problem(&format!("its value file {} is missing or not whole", file.name()));
            }
        }
        Ok(())
    }

    fn count_slots(&self) -> u64 {
        let table = &self.shared.table;
        (0..self.state.geometry.buckets())
            .flat_map(|bucket| chain(table, bucket))
            .flat_map(|line| line[..SLOTS].iter())
            .filter(|word| word.load(Ordering::Relaxed) != 0)
            .count() as u64
    }

    /// Walks over the log from the oldest live segment to the tail.
    fn check_log(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let mut at = self.state.drained;
        let mut units = 0;
        let mut segment = self.state.oldest;
        while segment.is_within(self.state.oldest, self.tail.segment()) {
            units += self.shared.segment(segment)?.map_or(0, <[_]>::len) as u64;
            segment = segment.next();
        }
        if units != self.state.log_units {
            let what =
                format!("bytes of log: counted {}, found {}", 8 * self.state.log_units, 8 * units);
            findings.push(self.finding("head", &what));
        }
        let mut is_damaged = false;
        while at != self.tail {
            if !self.tail.is_at_or_after(at) {
                let name = self.tail.segment().file_name();
                findings.push(self.finding(&name, "the log goes on beyond its end"));
                return Ok(());
            }
            let next = match self.record_at(at)? {
                Some((record, _)) => {
                    is_damaged = false;
                    record.end()
                }
                None => {
                    let name = at.segment().file_name();
                    if !is_damaged {
                        let what = format!("the log is damaged at byte {}", 8 * at.unit());
                        findings.push(self.finding(&name, &what));
                    }
                    is_damaged = true;
                    match self.next_unit(at)? {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
            };
            at = next;
        }
        Ok(())
    }

    /// One unit further, or the start of the next segment; `None` at the end of the log.
    pub(crate) fn next_unit(&self, at: Location) -> Result<Option<Location>> {
        let len = self.words(at)?.map_or(0, <[_]>::len) as u64;
        if at.unit() + 1 < len {
            return Ok(Some(at.plus(1)));
        }
        if at.segment() == self.tail.segment() {
            return Ok(None);
        }
        let next = at.segment().next();
        Ok(Some(Location::new(next, HEADER_UNITS)))
    }
}
