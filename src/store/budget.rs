//! One size limit over several stores: how much is to go, and from which of them.
//!
//! Every store keeps the whole limit in its settings, and the number of stores that share it. What
//! it does depends on how all of them stand:
//!
//! ```text
//! sum of footprints <= limit + a segment      nothing goes
//! above, and this store holds its share       keys of this store go
//! above, and it holds less, or has given      the fullest of the others gives, when this one's
//! all that it may                             lock is free (`ask_others`, `Budget::asked`)
//! ```
//!
//! The counters of the others are read from their mapped heads, without a lock: a few hundred
//! loads. So a store looks only when it has grown by [`LOOK_BYTES`] since it last did (and found
//! nothing to remove). Between two looks, by whatever process, its log therefore grows by no more
//! than that, and the sum exceeds the limit by no more than that for each store.
//!
//! A store that is on its own has the limit for itself, and looks with every write.

use std::sync::Arc;

use crate::error::Result;
use crate::format::location::Location;
use crate::format::settings::Settings;
use crate::format::state::State;
use crate::store::space::{footprint, most_footprint, segment_units};
use crate::store::{Store, Writer};
use crate::sys::sync::{AtomicU64, Ordering};

/// Bytes of log after which a store looks at the others again, if a quarter of a segment is not
/// less.
const LOOK_BYTES: u64 = 16 * 1024;

/// The stores that keep to one limit.
pub(crate) struct Budget {
    stores: Vec<Store>,
    /// The store that could not make room on its own, counted from 1; 0 if none.
    asking: AtomicU64,
}

/// One of the stores of a budget.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) budget: Arc<Budget>,
    pub(crate) index: usize,
}

/// When a store last looked at the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    tail: Location,
    file_bytes: u64,
}

/// How the limit stands, as seen by one store.
#[derive(Clone, Copy)]
pub(crate) struct Demand {
    /// What all stores may take, give or take a segment.
    limit: u64,
    /// What the others take.
    others: u64,
    /// What this one may keep as long as others have more.
    share: u64,
}

impl Budget {
    pub(crate) fn new(stores: Vec<Store>) -> Budget {
        Budget { stores, asking: AtomicU64::new(0) }
    }

    /// The stores and what they take, the fullest first.
    pub(crate) fn fullest_first(&self) -> Vec<(usize, u64)> {
        let mut all: Vec<_> = self.stores.iter().map(Store::footprint).enumerate().collect();
        all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        all
    }

    /// The store that has asked the others to make room, if one has since this was last called.
    #[inline]
    pub(crate) fn asked(&self) -> Option<usize> {
        // ORDERING: Relaxed, a hint: whoever acts on it looks again.
        if self.asking.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.asking.swap(0, Ordering::Relaxed).checked_sub(1).map(|index| index as usize)
    }

    /// Waits until the disk knows of the first store: its settings say how many there are, and without
    /// that number nobody finds what is in the others.
    pub(crate) fn sync_lead(&self) -> Result<()> {
        self.stores.first().map_or(Ok(()), |lead| lead.0.sync_identity())
    }

    fn taken_by_others(&self, index: usize) -> u64 {
        let others = self.stores.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, store)| store.footprint()).fold(0, u64::saturating_add)
    }
}

impl Store {
    fn footprint(&self) -> u64 {
        footprint(&self.0, &self.state(), &self.settings())
    }
}

impl Demand {
    /// Whether the stores take more than they may together.
    pub(crate) fn is_over(&self, writer: &Writer<'_>) -> bool {
        let is_plain = writer.session.overlay.is_none();
        if is_plain && most_footprint(&writer.state).saturating_add(self.others) <= self.limit {
            // Far within it, as nearly always: no need to be exact.
            return false;
        }
        let (own, segment) = writer.takes();
        own.saturating_add(self.others) > self.limit.saturating_add(segment)
    }

    /// Whether they do, and this one is to give.
    pub(crate) fn is_due_here(&self, writer: &Writer<'_>) -> bool {
        self.is_over(writer) && writer.takes().0 >= self.share
    }
}

impl Writer<'_> {
    /// Bytes that this store takes, and a segment of it.
    fn takes(&self) -> (u64, u64) {
        let (state, settings) = (self.state(), self.shared.head.settings());
        (footprint(self.shared, &state, &settings), segment_bytes(&state, &settings))
    }

    /// Whether this store takes at least so much.
    pub(crate) fn takes_at_least(&self, bytes: u64) -> bool {
        self.takes().0 >= bytes
    }

    /// How the limit stands; `None` if it is too early to look at the others again.
    pub(crate) fn demand(&self, place: Option<&Place>) -> Option<Demand> {
        match place {
            Some(_) if !self.is_look_due() => None,
            _ => Some(self.demand_now(place)),
        }
    }

    /// How the limit stands, whenever it was last looked at.
    pub(crate) fn demand_now(&self, place: Option<&Place>) -> Demand {
        let settings = self.shared.head.settings();
        match place {
            None => Demand { limit: settings.share(), others: 0, share: 0 },
            Some(Place { budget, index }) => Demand {
                limit: settings.size_limit,
                others: budget.taken_by_others(*index),
                share: settings.share(),
            },
        }
    }

    /// Notes that this store has looked and, if it is still over, could do no more for now; asks
    /// the others if it has `no_more` to give at all.
    pub(crate) fn settle_demand(&mut self, place: &Place, demand: &Demand, no_more: bool) {
        let is_over = demand.is_over(self);
        self.session.looked =
            (!is_over).then_some(Looked { tail: self.tail, file_bytes: self.state.file_bytes });
        if is_over && no_more {
            // ORDERING: Relaxed, a hint.
            place.budget.asking.store(place.index as u64 + 1, Ordering::Relaxed);
        }
    }

    fn is_look_due(&self) -> bool {
        let Some(Looked { tail, file_bytes }) = self.session.looked else { return true };
        let segment = segment_bytes(&self.state, &self.shared.head.settings());
        let units = LOOK_BYTES.min(segment / 4) / 8;
        tail.segment() != self.tail.segment()
            || self.tail.unit() >= tail.unit() + units
            || self.state.file_bytes != file_bytes
    }
}

fn segment_bytes(state: &State, settings: &Settings) -> u64 {
    8 * segment_units(state, settings)
}
