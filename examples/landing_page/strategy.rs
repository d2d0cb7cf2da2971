//! Four ways to come by the page.

use std::sync::Arc;
use std::time::Duration;

use firncache::recipes::memoize_stampede;
use firncache::{Cache, Error, Result, SetOptions};

use crate::page::Page;

#[derive(Clone, Copy)]
pub(crate) enum Strategy {
    None,
    Plain,
    Lock,
    Early,
}

/// What a visitor does to see the page.
pub(crate) type Visit = Box<dyn Fn() -> Result<String> + Send + Sync>;

impl Strategy {
    pub(crate) const ALL: [Strategy; 4] =
        [Strategy::None, Strategy::Plain, Strategy::Lock, Strategy::Early];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Strategy::None => "none",
            Strategy::Plain => "plain",
            Strategy::Lock => "lock",
            Strategy::Early => "early",
        }
    }

    pub(crate) fn visit(self, cache: &Cache, page: &Arc<Page>, expire: Duration) -> Visit {
        let (cache, page) = (cache.clone(), Arc::clone(page));
        let options = SetOptions::new().expire(expire);
        match self {
            Strategy::None => Box::new(move || Ok(page.make())),
            Strategy::Plain => Box::new(move || {
                if let Some(html) = cache.get("landing page")? {
                    return Ok(html);
                }
                // Nothing tells the others that somebody is about it.
                let html = page.make();
                cache.set_with("landing page", &html, options.clone())?;
                Ok(html)
            }),
            Strategy::Lock => Box::new(move || {
                let make = || Ok::<_, Error>(page.make());
                cache.get_or_set_with("landing page", options.clone(), make)
            }),
            Strategy::Early => {
                let make = move |_: &()| page.make();
                let landing_page = memoize_stampede(&cache, "landing page", expire, 1.0, make);
                Box::new(move || landing_page.call(&()))
            }
        }
    }
}
