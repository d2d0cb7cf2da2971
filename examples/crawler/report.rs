//! Counts what is there, says so, and fails where it is not what it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Result;
use crate::crawl::Crawl;
use crate::site::Site;

pub(crate) struct Report<'a> {
    pub(crate) crawl: &'a Crawl,
    pub(crate) site: Site,
    /// Pages that were stored before this run.
    pub(crate) earlier: u64,
    pub(crate) workers: u16,
    pub(crate) elapsed: Duration,
}

impl Report<'_> {
    /// After a kill: every path that was ever found is stored, or waits, or is in a hand.
    pub(crate) fn of_killed(&self) -> Result<()> {
        self.check()?;
        let (waiting, hands) = (self.crawl.waiting()?, self.crawl.hands()?);
        self.print_progress()?;
        row("killed", self.workers, "workers, by SIGKILL, all at once");
        row("in hand", hands.len(), "pages that they had taken and not finished");
        row("waiting", waiting.len(), "pages in the frontier");

        let mut places: BTreeMap<String, u64> = BTreeMap::new();
        let in_hand = hands.into_iter().map(|(_, path)| path);
        for path in waiting.into_iter().chain(in_hand.clone()) {
            *places.entry(path).or_default() += 1;
        }
        let in_hand: Vec<String> = in_hand.collect();
        for path in self.crawl.pages.keys() {
            let path = path?;
            // One that is stored, and was in hand still.
            if !in_hand.contains(&path) {
                *places.entry(path).or_default() += 1;
            }
        }
        let mut found = 0;
        for path in (0..self.site.pages).map(Site::path) {
            let is_seen = self.crawl.has_seen(&path)?;
            let count = places.get(&path).copied().unwrap_or(0);
            if count != u64::from(is_seen) {
                return Err(format!("{path}, seen: {is_seen}, is in {count} places").into());
            }
            found += u64::from(is_seen);
        }
        row("accounted for", found, "pages that were found so far: each is in one place");
        println!("\nRun it again, without --kill and --fresh, to go on from here.");
        Ok(())
    }

    /// At the end: every page is stored as it is, and was asked for once, but for those that were
    /// in the hand of a worker when that was killed.
    pub(crate) fn of_finished(&self) -> Result<()> {
        self.check()?;
        self.print_progress()?;
        let (mut requests, mut taken_back, mut links, mut bytes) = (0, 0, 0, 0);
        for number in 0..self.site.pages {
            let path = Site::path(number);
            let page = self.crawl.pages.get(&path)?;
            if page.as_ref() != Some(&self.site.page(number)) {
                return Err(format!("{path} is stored as {page:?}").into());
            }
            let asked: u64 = self.crawl.requests.get(&path)?.unwrap_or(0);
            let again = self.crawl.times_taken_back(&path)?;
            if asked == 0 || asked > 1 + again {
                return Err(format!("{path}: {asked} requests, {again} times taken back").into());
            }
            (requests, taken_back) = (requests + asked, taken_back + again);
            if let Some(page) = page {
                (links, bytes) = (links + page.links.len(), bytes + page.size);
            }
        }
        if self.crawl.pages.len()? != self.site.pages {
            return Err("the index has pages that the site does not have".into());
        }
        let alone: Duration = (self.earlier..self.site.pages).map(Site::latency).sum();
        let alone = format!("is what one worker would wait in {:.1} s", alone.as_secs_f64());
        row("stored", self.site.pages, "pages, each once and as it is on the site");
        row("links", links, format!("in {:.1} MB of HTML", bytes as f64 / 1e6));
        row("taken back", taken_back, "pages, out of the hands of killed workers");
        row("requests", requests, "to the server: one a page, and one for each taken back at most");
        row("speed", format!("{:.2} s", self.elapsed.as_secs_f64()), alone);
        Ok(())
    }

    fn print_progress(&self) -> Result<()> {
        let new = self.crawl.pages.len()? - self.earlier;
        row("site", self.site.pages, "pages, with 10 to 40 ms of latency each");
        row("earlier", self.earlier, "pages that an earlier run has stored");
        row("this run", new, format!("pages, by {} processes", self.workers));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        for cache in [self.crawl.cache(), self.crawl.pages.cache(), &self.crawl.requests] {
            let report = cache.check()?;
            if !report.is_clean() {
                return Err(format!("{} is damaged: {report}", cache.directory().display()).into());
            }
        }
        Ok(())
    }
}

fn row(name: &str, figure: impl ToString, remark: impl AsRef<str>) {
    println!("{name:<14}{:>8}  {}", figure.to_string(), remark.as_ref());
}
