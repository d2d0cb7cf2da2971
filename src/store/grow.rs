//! Keeping the table in shape: overflow buckets, splits, pages.

use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::{BITMAP, LIFE, PAGE_ENTRIES};
use crate::format::record::Kind;
use crate::format::slot::{SLOTS, bucket_of};
use crate::format::state::Geometry;
use crate::store::Writer;
use crate::sys::sync::Ordering;
use crate::table::{Space, pages, publish, split};

/// Keys per bucket at which the number of buckets begins to double.
const LOAD: u64 = 4;
/// Splits in one step of growing.
const SPLITS: u64 = 8;
/// Pages looked at in one step of merging.
const MERGE_LOOKS: usize = 8;

impl Writer<'_> {
    /// Makes sure that a new slot fits into the chain of a hash, and has it at hand.
    pub(crate) fn vacancy_for(&mut self, hash: u64) -> Result<()> {
        let bucket = bucket_of(hash, self.state.geometry.buckets());
        let shared = self.shared;
        let mut vacancy = publish::vacancy(&shared.table, bucket);
        if vacancy.is_none() {
            self.vacancies_for(hash, 1)?;
            vacancy = publish::vacancy(&shared.table, bucket);
        }
        self.at_hand.set(vacancy);
        Ok(())
    }

    /// Makes sure that `count` new slots fit into the chain of a hash.
    pub(crate) fn vacancies_for(&mut self, hash: u64, count: usize) -> Result<()> {
        let bucket = bucket_of(hash, self.state.geometry.buckets());
        if self.shared.table.bucket(bucket).is_none() {
            return Err(Error::corrupt(self.shared.dir.path(), "a file of the table is missing"));
        }
        let (table, failures) = (&self.shared.table, self.shared.table.failures());
        // One more where damage has cut the chain off, or made a circle of it.
        let (mut links, most) = (0, 1 + count.div_ceil(SLOTS));
        while !publish::has_vacancies(table, bucket, count) {
            table.believe(failures)?;
            if links == most {
                let what = "so many new keys at once are more than a bucket of the table takes: \
                            store them in smaller parts";
                return Err(Error::new(ErrorKind::TooLarge, what).at(self.shared.dir.path()));
            }
            links += 1;
            let overflow = self.state.overflows;
            table.ensure_overflow(self.state.geometry.generation(), overflow)?;
            self.job(Kind::Spill, &[bucket, overflow])?;
        }
        Ok(())
    }

    /// The entry number of the next new key, opening a page if need be.
    pub(crate) fn next_entry(&mut self) -> Result<u32> {
        if self.state.last_page == 0 || u64::from(self.state.last_fill) >= PAGE_ENTRIES {
            self.add_page()?;
        }
        Ok((self.state.last_page - 1) * PAGE_ENTRIES as u32 + self.state.last_fill)
    }

    /// Entry numbers for `count` new keys that are stored together, and for as many more as their
    /// last page holds, opening pages as need be.
    pub(crate) fn entries_for(&mut self, count: usize) -> Result<Vec<u32>> {
        let mut entries = Vec::with_capacity(count);
        while entries.len() < count {
            let first = self.next_entry()?;
            let left = PAGE_ENTRIES as u32 - self.state.last_fill;
            entries.extend(first..first + left);
            if entries.len() < count {
                self.add_page()?;
            }
        }
        Ok(entries)
    }

    fn add_page(&mut self) -> Result<()> {
        let page = pages::next_number(&self.state);
        self.shared.table.ensure_page(self.state.geometry.generation(), u64::from(page))?;
        self.job(Kind::AddPage, &[u64::from(page)])
    }

    /// Splits a few buckets if the table is too full or in the middle of doubling.
    pub(crate) fn grow(&mut self) -> Result<()> {
        let buckets = self.state.geometry.buckets();
        if buckets.is_power_of_two() && self.state.len <= LOAD * buckets {
            return Ok(());
        }
        let left = (buckets + 1).next_power_of_two() - buckets;
        let splits = left.min(SPLITS);
        if self.ready_to_split(splits).is_err() {
            // A table that cannot grow for want of space works on, with longer chains.
            return Ok(());
        }
        self.job(Kind::Grow, &[splits])
    }

    fn ready_to_split(&self, splits: u64) -> Result<()> {
        let (table, state) = (&self.shared.table, &self.state);
        let (generation, buckets) = (state.geometry.generation(), state.geometry.buckets());
        split::prefetch_entries(table, state.geometry, splits);
        let mut overflows = 0;
        for bucket in buckets..buckets + splits {
            table.ensure_bucket(generation, bucket)?;
            overflows += split::overflows_needed(table, Geometry::new(generation, bucket));
        }
        for overflow in state.overflows..state.overflows + overflows {
            table.ensure_overflow(generation, overflow)?;
        }
        Ok(())
    }

    /// Takes the page of a removed entry out of the list when nothing is left in it.
    pub(crate) fn drop_page_if_empty(&mut self, entry: u32) -> Result<()> {
        let number = entry / PAGE_ENTRIES as u32;
        let Some(page) = self.shared.table.page(number) else { return Ok(()) };
        let is_listed = page[LIFE].load(Ordering::Relaxed) != 0;
        let is_empty = page[BITMAP].load(Ordering::Relaxed) == 0;
        if is_listed && is_empty && self.state.last_page != number + 1 {
            self.job(Kind::DropPage, &[u64::from(number)])?;
        }
        Ok(())
    }

    /// Merges two neighbouring pages if the pages are, on the whole, less than half full.
    pub(crate) fn merge_pages(&mut self) -> Result<()> {
        if self.state.listed_pages <= 2 * (self.state.len / PAGE_ENTRIES) + 4 {
            return Ok(());
        }
        let table = &self.shared.table;
        let mut at = match self.state.merge_page {
            0 => self.state.first_page,
            page => page as u32,
        };
        for _ in 0..MERGE_LOOKS {
            let Some(left) = at.checked_sub(1).and_then(|page| pages::snapshot(table, page)) else {
                break;
            };
            let right = left.next.checked_sub(1).and_then(|page| pages::snapshot(table, page));
            let Some(right) = right.filter(|right| right.next != 0) else { break };
            at = left.next;
            if u64::from(left.bitmap.count_ones() + right.bitmap.count_ones()) > PAGE_ENTRIES {
                continue;
            }
            let into = pages::next_number(&self.state);
            if table.ensure_page(self.state.geometry.generation(), u64::from(into)).is_err() {
                return Ok(());
            }
            self.state.merge_page = u64::from(into) + 1;
            let arguments = [left.number.into(), right.number.into(), into.into()];
            return self.job(Kind::MergePages, &arguments);
        }
        // The last pages of the list were reached, or nothing was found here: go on from there.
        let is_at_end =
            at.checked_sub(1).and_then(|page| pages::snapshot(table, page)).is_none_or(|page| {
                page.next
                    .checked_sub(1)
                    .and_then(|next| pages::snapshot(table, next))
                    .is_none_or(|next| next.next == 0)
            });
        self.state.merge_page = if is_at_end { 0 } else { u64::from(at) };
        Ok(())
    }
}
