//! What a log says when it is read from its beginning: which records are current.

use std::collections::HashMap;

use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind, TRANSACTION};
use crate::store::apply::Record;
use crate::store::check::Finding;

/// What reading the log has shown.
#[derive(Default)]
pub(crate) struct History {
    /// The current records: their rows, by location.
    pub(crate) live: HashMap<u64, u64>,
    pub(crate) settings: Option<(Location, [u64; 3])>,
    pub(crate) first: Option<Segment>,
    /// Where reading began.
    pub(crate) begin: Option<Location>,
    pub(crate) end: Option<Location>,
    pub(crate) findings: Vec<Finding>,
    /// Records whose value file is not whole, in order: lost with the power, or deleted since because
    /// a later record replaced it.
    doubtful: Vec<Location>,
    /// The records of a transaction whose commit record has not come yet.
    open: Vec<(Location, Header)>,
}

impl History {
    /// Takes in the next record.
    pub(crate) fn add(&mut self, record: &Record<'_>) {
        let Record { at, header, arguments, .. } = record;
        if header.flags & TRANSACTION != 0 {
            self.open.push((*at, *header));
            return;
        }
        match header.kind {
            Kind::Seal => return,
            Kind::Commit => {
                let mut open = std::mem::take(&mut self.open);
                // What lay before the oldest segment has been moved on; the rest still counts.
                let is_cut = self
                    .begin
                    .is_some_and(|begin| !Location::from_bits(arguments[0]).is_at_or_after(begin));
                if !is_cut {
                    // Before it can lie the beginning of one whose end is lost.
                    let start = open.iter().position(|(at, _)| at.bits() == arguments[0]);
                    open.drain(..start.unwrap_or(open.len()));
                }
                if is_cut || open.len() as u64 == arguments[1] {
                    open.iter().for_each(|(at, header)| self.apply(*at, header));
                }
            }
            Kind::Put | Kind::Delete => self.apply(*at, header),
            Kind::Clear => {
                self.live.clear();
                self.first = Some(at.segment());
            }
            Kind::Retire => {
                let next = Segment::new(arguments[0]).next();
                // What it says otherwise is damage: all that are read lie between.
                let begin = self.begin.map_or(at.segment(), Location::segment);
                if next.is_within(begin, at.segment()) {
                    self.first = Some(next);
                }
            }
            Kind::Settings => self.settings = Some((*at, *arguments)),
            _ => {}
        }
        // Any other record between them means that the open transaction was never committed.
        self.open.clear();
    }

    /// Notes that the value file of a record is not whole.
    pub(crate) fn doubt(&mut self, at: Location) {
        self.doubtful.push(at);
    }

    /// The first record that is current and has lost its value file.
    pub(crate) fn first_loss(&self) -> Option<Location> {
        self.doubtful.iter().copied().find(|at| self.live.contains_key(&at.bits()))
    }

    fn apply(&mut self, at: Location, header: &Header) {
        self.live.remove(&header.previous.bits());
        if header.kind == Kind::Put {
            self.live.insert(at.bits(), header.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_current_after_a_clear_but_what_came_later() {
        let segment = Segment::new(3);
        let mut history = History::default();
        let mut add = |kind: Kind, unit: u64| {
            let at = Location::new(segment, unit);
            history.add(&Record::job(at, Header::job(kind, 0), [0; 3]));
            at.bits()
        };
        add(Kind::Put, 8);
        add(Kind::Put, 16);
        add(Kind::Clear, 24);
        let last = add(Kind::Put, 32);
        assert_eq!(history.live.keys().copied().collect::<Vec<_>>(), [last]);
        assert_eq!(history.first, Some(segment));
    }
}
