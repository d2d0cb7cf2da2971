//! A web site that is made up: every page follows from its number.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is kept of a page.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// Paths on the same site, in the order of the text.
    pub(crate) links: Vec<String>,
    /// Bytes of HTML.
    pub(crate) size: u64,
}

/// Page 0 leads to pages 1 to 3, those to 4 to 12, and so on, so that every page can be reached;
/// further links lead anywhere, so that most pages are found more than once.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) pages: u64,
}

/// Where a crawl begins.
pub(crate) const HOME: &str = "/page/0";

impl Site {
    pub(crate) fn path(number: u64) -> String {
        format!("/page/{number}")
    }

    /// The number of the page with a path, if there is one.
    pub(crate) fn number(self, path: &str) -> Option<u64> {
        let number = path.strip_prefix("/page/")?.parse().ok()?;
        (number < self.pages).then_some(number)
    }

    fn title(number: u64) -> String {
        format!("Page {number}")
    }

    fn links(self, number: u64) -> Vec<String> {
        let below = (1..=3).map(|child| number * 3 + child);
        let anywhere = (0..number % 6).map(|link| mixed(number * 8 + link) % self.pages);
        let all = below.filter(|child| *child < self.pages).chain(anywhere);
        all.map(Site::path).collect()
    }

    /// The page as it is sent.
    pub(crate) fn html(self, number: u64) -> String {
        let mut html = format!("<html><head><title>{}</title></head><body>\n", Site::title(number));
        for (at, link) in self.links(number).iter().enumerate() {
            // Writing to a String does not fail.
            let _ = writeln!(html, "<p>{}<a href=\"{link}\">{at}</a></p>", "word ".repeat(40));
        }
        html.push_str(&"and so on ".repeat((mixed(number) % 400) as usize));
        html + "</body></html>\n"
    }

    /// What a crawler should keep of it.
    pub(crate) fn page(self, number: u64) -> Page {
        let size = self.html(number).len() as u64;
        Page { title: Site::title(number), links: self.links(number), size }
    }

    /// How long the server thinks about it.
    pub(crate) fn latency(number: u64) -> Duration {
        Duration::from_millis(10 + mixed(number) % 30)
    }
}

/// Numbers that look random (SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
