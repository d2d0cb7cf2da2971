//! Reading the log from its beginning, for a rebuild: as far as it goes, over what is damaged where more
//! is known to come.

use crate::error::Result;
use crate::format::location::Location;
use crate::format::record::{FileRef, Kind};
use crate::format::segment::HEADER_UNITS;
use crate::store::Writer;
use crate::store::apply::Record;
use crate::store::check::Finding;
use crate::store::history::History;
use crate::store::on_disk::Segments;

impl Writer<'_> {
    /// Reads the log up to the first gap. A record that has lost its value file is one, but not if a
    /// later record replaced it: the file was deleted for that. So all is read first, and again up to
    /// the first such record if there is one.
    pub(crate) fn read_history(
        &mut self,
        segments: &Segments,
        trusted: Option<Location>,
        history: &mut History,
    ) -> Result<()> {
        let mut stop = None;
        loop {
            let start = match trusted {
                Some(_) => Some(self.state.first),
                None => self.start_of_history(segments, stop)?,
            };
            let Some(start) = start.filter(|start| segments.has(*start)) else { return Ok(()) };
            let mut read = History::default();
            read.begin = Some(Location::new(start, HEADER_UNITS));
            self.read_until(stop, segments, trusted, &mut read)?;
            stop = read.first_loss();
            if stop.is_none() {
                history.findings.append(&mut read.findings);
                read.findings = std::mem::take(&mut history.findings);
                *history = read;
                return Ok(());
            }
        }
    }

    fn read_until(
        &mut self,
        stop: Option<Location>,
        segments: &Segments,
        trusted: Option<Location>,
        history: &mut History,
    ) -> Result<()> {
        let known = trusted.unwrap_or(segments.synced);
        let Some(mut at) = history.begin else { return Ok(()) };
        let mut gap = None;
        while trusted != Some(at) && stop != Some(at) {
            let before_known = !known.is_none() && at != known && known.is_at_or_after(at);
            let next = match self.record_at(at)? {
                Some((record, body)) => {
                    gap = None;
                    if !self.is_whole(&record, &body, before_known)? {
                        history.doubt(at);
                    }
                    history.add(&record);
                    Some(record.end())
                }
                _ if !before_known => break,
                _ => {
                    if gap.is_none() {
                        history.findings.push(Finding {
                            path: self.shared.dir.join(&at.segment().file_name()),
                            what: format!("the log is damaged at byte {}", 8 * at.unit()),
                        });
                    }
                    gap.get_or_insert(at);
                    self.unit_after(at)?
                }
            };
            let next = next.filter(|next| segments.has(next.segment()));
            let Some(next) = next else {
                // Not behind the gap, where there need be no room for the record that ends a segment.
                at = gap.unwrap_or(at);
                break;
            };
            at = next;
        }
        // Also behind a transaction without its end, which counts for nothing: it can be known to be on
        // disk, and what is known must not be overwritten.
        history.end = Some(at);
        Ok(())
    }

    fn unit_after(&self, at: Location) -> Result<Option<Location>> {
        let len = self.words(at)?.map_or(0, <[_]>::len) as u64;
        if at.unit() + 1 < len {
            return Ok(Some(at.plus(1)));
        }
        Ok(Some(Location::new(at.segment().next(), HEADER_UNITS)))
    }

    /// Whether the value file of a record is whole, if it has one. Before the place that is known
    /// to be on disk a missing file is damage of that key alone, which reading it will show.
    fn is_whole(&self, record: &Record<'_>, body: &[u8], before_known: bool) -> Result<bool> {
        if record.header.kind != Kind::Put || !record.header.is_file() || before_known {
            return Ok(true);
        }
        let file = body.get(record.header.front_len()..).and_then(FileRef::decode);
        Ok(match file {
            Some(file) => self.shared.is_value_file_whole(file)?,
            None => false,
        })
    }
}
