//! Who goes next under the policies that rank: by time of storing, time of use, number of uses.
//!
//! Nothing is kept in order for this. When a victim is needed, the oldest 64 keys and 32 random
//! ones are ranked, all of them while there are few; the least of them go, one by one, before the
//! next ranking. As long as rank and insertion order agree, as they do under `LeastRecentlyStored`
//! when keys are not stored again, that is the whole oldest page. So a victim costs less than
//! reading a page, and a cache of up to 256 keys is ranked exactly.

use crate::cache::spared::Spared;
use crate::clock::NEVER;
use crate::error::Result;
use crate::format::settings::Eviction;
use crate::store::Writer;
use crate::store::page_walk::PageCursor;
use crate::table::pages::EntryView;

/// Up to this many pages are ranked whole.
const SMALL_PAGES: u64 = 4;
/// The oldest keys that are ranked in a larger cache, at least, and the pages that they may be
/// spread over.
const OLDEST: usize = 64;
const OLDEST_PAGES: u64 = 4;
/// Random keys that are ranked beside them.
const RANDOM: usize = 32;
/// Victims taken from one ranking, unless it agrees with the order of insertion for longer.
const KEPT: usize = 16;

/// The victims of the last ranking.
#[derive(Default)]
pub(crate) struct Ranking {
    policy: Option<Eviction>,
    /// The next victim last.
    victims: Vec<EntryView>,
    /// Whether all keys were ranked.
    was_small: bool,
    seed: u64,
}

impl Ranking {
    /// Begins a round of evictions.
    pub(crate) fn begin(&mut self, policy: Eviction) {
        // A new key has been used least: where all keys are ranked, it would come first.
        let is_old = policy == Eviction::LeastFrequentlyUsed && self.was_small;
        if self.policy != Some(policy) || is_old {
            self.victims.clear();
            self.policy = Some(policy);
        }
    }

    /// The entry that is to go next, as it is now.
    pub(crate) fn next(
        &mut self,
        writer: &Writer<'_>,
        policy: Eviction,
        spared: &Spared,
    ) -> Result<Option<EntryView>> {
        for is_fresh in [false, true] {
            if is_fresh {
                self.rank(writer, policy, spared)?;
            }
            while let Some(view) = self.victims.pop() {
                if let Some(now) = writer.current(&view)
                    && now.access == view.access
                    && !spared.contains(now.hash)
                    && is_evictable(writer, &now)?
                {
                    return Ok(Some(now));
                }
            }
        }
        Ok(None)
    }

    fn rank(&mut self, writer: &Writer<'_>, policy: Eviction, spared: &Spared) -> Result<()> {
        let is_small = writer.state().listed_pages <= SMALL_PAGES;
        self.was_small = is_small;
        let mut candidates = Vec::with_capacity(2 * OLDEST + RANDOM);
        let mut cursor = PageCursor::default();
        for _ in 0..OLDEST_PAGES {
            if !is_small && candidates.len() >= OLDEST {
                break;
            }
            let Some(page) = writer.page(&mut cursor)? else { break };
            candidates.extend(page.entries.into_iter().filter(|it| !spared.contains(it.hash)));
        }
        if !is_small || candidates.is_empty() {
            candidates.extend(self.random_entries(writer, spared));
        }
        // The position stands for the order of insertion.
        let mut ranked: Vec<_> = candidates
            .iter()
            .enumerate()
            .map(|(position, view)| (rank_of(view, policy), position))
            .collect();
        ranked.sort_unstable();
        let agreeing = ranked.iter().enumerate().take_while(|(index, it)| it.1 == *index).count();
        ranked.truncate(agreeing.max(KEPT));
        ranked.reverse();
        self.victims.clear();
        self.victims.extend(ranked.into_iter().map(|(_, position)| candidates[position]));
        Ok(())
    }

    fn random_entries(&mut self, writer: &Writer<'_>, spared: &Spared) -> Vec<EntryView> {
        let entries = (0..RANDOM).filter_map(|_| {
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            writer.random_entry(mixed(self.seed))
        });
        entries.filter(|it| !spared.contains(it.hash)).collect()
    }
}

fn rank_of(view: &EntryView, policy: Eviction) -> u64 {
    match policy {
        Eviction::LeastFrequentlyUsed => view.access.uses().into(),
        _ => view.access.time_ms(),
    }
}

/// Whether the transaction of this thread, if there is one, has left the entry alone, and it is not
/// one of the cache's own keys that are kept for ever.
pub(crate) fn is_evictable(writer: &Writer<'_>, view: &EntryView) -> Result<bool> {
    let is_joined = writer.session.overlay.is_some();
    if !is_joined && !writer.has_controls() {
        return Ok(true);
    }
    Ok(match writer.found(view)? {
        Some(found) => !found.header.is_control() || found.header.expires_ms != NEVER,
        None => !is_joined,
    })
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn mixed(seed: u64) -> u64 {
    let seed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ seed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ seed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_spread() {
        let mut counts = [0; 16];
        for seed in 1..=16_000_u64 {
            counts[(mixed(seed) % 16) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
