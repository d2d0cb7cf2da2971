//! Floors: a module imports only from floors below its own, and siblings never from each other.

use crate::source::{Source, first_word};
use crate::{Finding, Rule};

/// The floor of each module of the crate. A new module gets its line here.
const FLOORS: [(&str, u8); 15] = [
    ("error", 0),
    ("clock", 0),
    ("format", 1),
    ("sys", 1),
    ("log", 2),
    ("table", 2),
    ("store", 3),
    ("holds", 4),
    ("models", 4),
    ("cache", 5),
    ("fanout", 7),
    ("deque", 6),
    ("index", 6),
    ("recipes", 7),
    ("fuzzing", 7),
];

pub(crate) fn rules() -> Vec<Rule> {
    vec![
        Rule {
            name: "floors",
            applies: is_in_library,
            check: imports,
            bad: &[
                ("src/format/key.rs", "use crate::sys::map::Map;"),
                ("src/log/reader.rs", "use crate::{error::Error, table::{self, Line}};"),
                ("src/log/reader.rs", "fn f() { g(crate::store::Store::open()) }"),
                ("src/clock.rs", "pub(crate) use crate :: error::Error;"),
                ("src/store/mod.rs", "use crate::Error;"),
                ("src/deque/mod.rs", "use crate::fanout::FanoutCache;"),
                ("src/attic.rs", "use crate::error::Error;"),
            ],
            good: &[
                ("src/lib.rs", "pub use crate::cache::Cache;"),
                (
                    "src/store/mod.rs",
                    "use crate::{log::writer, store::lock, error::{Error, Result}};",
                ),
                ("src/log/mod.rs", "/// See crate::store::Store.\nuse crate::format::key::Key;"),
                ("src/log/mod.rs", "pub(crate) struct A;\npub(in crate::log) struct B;"),
                ("src/log/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::cache::Cache;\n}"),
                ("src/log/mod.rs", "#[cfg(test)]\nuse crate::store::{self, Store};"),
            ],
        },
        Rule {
            name: "full paths",
            applies: is_in_library,
            check: full_paths,
            bad: &[
                ("src/log/mod.rs", "use super::table::Line;"),
                ("src/log/mod.rs", "mod inner {\n    use super::super::table::Line;\n}"),
                ("src/log/mod.rs", "use crate::error::*;"),
                ("src/log/mod.rs", "use crate::{error::{self, *}, format};"),
            ],
            good: &[
                ("src/log/mod.rs", "use std::io::prelude::*;\nuse crate::error::Error;"),
                ("src/log/mod.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
                (
                    "src/log/mod.rs",
                    "mod a {\n    pub(super) fn f() -> super::A {}\n}\npub(super) fn g() {}",
                ),
            ],
        },
    ]
}

fn is_in_library(path: &str) -> bool {
    path.starts_with("src/")
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn imports(source: &Source) -> Vec<Finding> {
    let path = source.path.trim_start_matches("src/");
    if path == "lib.rs" {
        return Vec::new();
    }
    let own = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let Some(own_floor) = floor(own) else {
        let what = format!("the module {own} has no floor: give it one in tests/tidy/floors.rs");
        return vec![(1, what)];
    };
    let mut found = Vec::new();
    for at in source.words_outside_tests("crate") {
        for other in modules(&source.code[at + "crate".len()..]) {
            let refused = match floor(other) {
                _ if other == own => continue,
                Some(floor) if floor < own_floor => continue,
                Some(floor) => format!("{own} (floor {own_floor}) uses {other} (floor {floor})"),
                None => format!("{own} uses crate::{other}, which is no module of the floor map"),
            };
            let cure = "import from floors below only, and from where a thing is defined";
            found.push((source.line(at), format!("{refused}: {cure}")));
        }
    }
    found
}

/// The modules that a path names after `crate`: one, or several in braces.
fn modules(rest: &str) -> Vec<&str> {
    let Some(rest) = rest.trim_start().strip_prefix("::") else { return Vec::new() };
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![first_word(rest)] };
    let mut named = vec![first_word(group)];
    let mut depth = 0_usize;
    for (index, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => named.push(first_word(&group[index + 1..])),
            _ => {}
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

fn full_paths(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in source.words_outside_tests("super") {
        let chain = source.code[..at].len() - source.code[..at].trim_end_matches("super::").len();
        let is_path = source.code[at..].starts_with("super::");
        if !is_path || chain / "super::".len() < source.depth(at) {
            continue;
        }
        let what = "super:: hides where a thing comes from: write use crate::module::thing";
        found.push((source.line(at), what.into()));
    }
    for at in source.words_outside_tests("use") {
        let import = source.code[at..].split(';').next().unwrap_or_default();
        if first_word(&import["use".len()..]) == "crate" && import.contains('*') {
            found.push((source.line(at), "import names, not all that a module has".into()));
        }
    }
    found
}
