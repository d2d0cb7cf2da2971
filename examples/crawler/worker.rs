//! A worker process: takes a page, fetches it, stores it, until there is nothing left for anybody.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::fetch;
use crate::crawl::{Crawl, Life};

/// How long a worker rests that finds nothing to take.
const REST: Duration = Duration::from_millis(5);
/// How often it looks for dead colleagues.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(directory: &Path, server: SocketAddr) -> Result<()> {
    let crawl = Crawl::open(directory)?;
    let life = crawl.enlist()?;
    crawl.take_back()?;
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() > LOOK {
            crawl.take_back()?;
            looked = Instant::now();
        }
        match crawl.take(&life)? {
            Some(path) => visit(&crawl, &life, server, &path)?,
            None if crawl.is_over()? => return Ok(()),
            // What others have in hand may have links.
            None => std::thread::sleep(REST),
        }
    }
}

fn visit(crawl: &Crawl, life: &Life, server: SocketAddr, path: &str) -> Result<()> {
    let page = match crawl.pages.get(path)? {
        // Fetched by one who was killed before it could finish.
        Some(page) => page,
        None => {
            let page = fetch(server, path)?;
            if !crawl.keep(path, &page)? {
                return Err(format!("{path} was in two hands").into());
            }
            page
        }
    };
    Ok(crawl.finish(life, &page)?)
}
