//! The rules about single files: sizes, words, attributes, comments.

use crate::source::{Source, words};
use crate::{Finding, Rule};

/// The most lines of code of a file, and of a function.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
/// How far above an atomic operation its comment may stand.
const NEAR_LINES: usize = 6;
/// The only files with unsafe code.
const UNSAFE: [&str; 2] = ["src/sys/map.rs", "src/sys/raw.rs"];
/// Words are put together here, so that this file does not find itself.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Paths that exist on the machine of one author only.
const PRIVATE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/t", "mp/"), concat!("/ho", "me/")];

pub(crate) fn rules() -> Vec<Rule> {
    let mut all = size_rules();
    all.extend(word_rules());
    all.extend(attribute_rules());
    all.extend(order_rules());
    all
}

fn is_in_library(path: &str) -> bool {
    path.starts_with("src/")
}

fn is_documented(path: &str) -> bool {
    is_in_library(path) || path.starts_with("macros/src/")
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn size_rules() -> Vec<Rule> {
    vec![
        Rule {
            name: "file size",
            applies: is_rust,
            check: |source| {
                let lines = source.code_lines(0..source.code.len());
                let what = format!("{lines} lines of code, {FILE_LINES} at most: split the file");
                if lines > FILE_LINES { vec![(1, what)] } else { Vec::new() }
            },
            // Long enough examples are made by a test of their own.
            bad: &[("src/error.rs", LONG)],
            good: &[("src/error.rs", "const A: u8 = 1;\n")],
        },
        Rule {
            name: "function size",
            applies: is_rust,
            check: |source| {
                let count = |part: &std::ops::Range<usize>| source.code_lines(part.clone());
                let functions = source.functions().into_iter();
                let long = functions.filter(|part| count(part) > FUNCTION_LINES);
                let what = |lines| format!("a function of {lines} lines, {FUNCTION_LINES} at most");
                long.map(|part| (source.line(part.start), what(count(&part)))).collect()
            },
            bad: &[("src/error.rs", LONG)],
            good: &[("src/error.rs", "fn f() {\n    g();\n}\n")],
        },
    ]
}

fn word_rules() -> Vec<Rule> {
    vec![
        Rule {
            name: "unsafe code",
            applies: |path| is_documented(path) && !UNSAFE.contains(&path),
            check: |source| {
                // The crate itself denies it by that name.
                let is_exception = |_: &usize| source.path != "src/lib.rs";
                let exceptions = source.words("unsafe_code").filter(is_exception);
                let found = source.words("unsafe").chain(exceptions);
                let what = format!("unsafe code lives in {} only", UNSAFE.join(" and "));
                found.map(|at| (source.line(at), what.clone())).collect()
            },
            bad: &[
                ("src/sys/file.rs", "fn f() { unsafe { g() } }"),
                ("src/sys/file.rs", "#![expect(unsafe_code, reason = \"fast\")]"),
                ("src/log/mod.rs", "#[cfg(test)]\nmod tests { unsafe fn f() {} }"),
            ],
            good: &[("src/sys/file.rs", "// Not unsafe.\nfn f() -> &str { \"unsafe\" }")],
        },
        Rule {
            name: "finished",
            applies: |_| true,
            check: |source| {
                let all = UNFINISHED.iter().flat_map(|word| words(&source.text, word));
                all.map(|at| (source.line(at), "finish it, or open an issue".into())).collect()
            },
            bad: &[
                ("src/log/mod.rs", concat!("// TO", "DO: more")),
                ("docs/design.md", concat!("FIX", "ME")),
            ],
            good: &[("src/log/mod.rs", concat!("const TO", "DO_LIST: u8 = 1;"))],
        },
        Rule {
            name: "private paths",
            applies: |path| !path.starts_with("tests/"),
            check: |source| {
                let all = PRIVATE.iter().flat_map(|path| source.text.match_indices(path));
                let what = |path| format!("{path} is a place on one machine: name none");
                all.map(|(at, path)| (source.line(at), what(path))).collect()
            },
            bad: &[
                ("src/log/mod.rs", concat!("//! In /t", "mp/cache.")),
                ("docs/design.md", concat!("See `/wo", "rk/design.md`.")),
            ],
            good: &[("docs/design.md", "In /var/cache/app and target/tmp.")],
        },
        Rule {
            name: "host byte order",
            applies: |path| is_in_library(path) && !path.starts_with("src/sys/"),
            check: |source| {
                let names = ["to_ne_bytes", "from_ne_bytes", "target_endian"];
                let all = names.iter().flat_map(|name| source.words_outside_tests(name));
                let what = "the byte order of the host: the format is little-endian";
                all.map(|at| (source.line(at), what.into())).collect()
            },
            bad: &[("src/format/head.rs", "fn f() -> u32 { u32::from_ne_bytes(g()) }")],
            good: &[("src/format/head.rs", "fn f() -> u32 { u32::from_le_bytes(g()) }")],
        },
    ]
}

fn attribute_rules() -> Vec<Rule> {
    vec![
        Rule {
            name: "expect, not allow",
            applies: is_rust,
            check: |source| {
                let attributes = attributes(source);
                let found = attributes.iter().filter(|(_, it)| words(it, "allow").next().is_some());
                let what = "an exception that never ends: use #[expect(lint, reason = \"..\")]";
                found.map(|(at, _)| (source.line(*at), what.into())).collect()
            },
            bad: &[
                ("src/log/mod.rs", "#[allow(dead_code)]\nfn f() {}"),
                ("src/log/mod.rs", "#![allow(dead_code)]"),
                ("src/log/mod.rs", "#![cfg_attr(not(test), allow(dead_code))]"),
            ],
            good: &[("src/log/mod.rs", "#[expect(dead_code, reason = \"allow\")]\nfn allow() {}")],
        },
        Rule {
            name: "hidden modules",
            applies: is_in_library,
            check: |source| {
                let is_hidden = |(at, it): &&(usize, &str)| {
                    let item = source.code[at + it.len()..].trim_start_matches([']', '\n', ' ']);
                    words(it, "hidden").next().is_some() && item.starts_with("pub mod")
                };
                let attributes = attributes(source);
                let found = attributes.iter().filter(is_hidden);
                let what = "a module that is public but hidden: make it private";
                found.map(|(at, _)| (source.line(*at), what.into())).collect()
            },
            bad: &[("src/lib.rs", "#[doc(hidden)]\npub mod inner;")],
            good: &[("src/lib.rs", "pub mod recipes;\n#[doc(hidden)]\npub use a::B;")],
        },
        Rule {
            name: "module documentation",
            applies: is_documented,
            check: |source| {
                let what = "begin with //!: what it is, the picture, the invariants, who calls it";
                if source.text.starts_with("//!") { Vec::new() } else { vec![(1, what.into())] }
            },
            bad: &[
                ("src/log/mod.rs", "\n//! Late.\n"),
                ("src/log/mod.rs", "/// Not of the module.\n"),
                ("macros/src/expand.rs", "use syn::Expr;\n"),
            ],
            good: &[("src/log/mod.rs", "//! The log.\n")],
        },
    ]
}

fn order_rules() -> Vec<Rule> {
    vec![
        Rule {
            name: "memory order",
            applies: |path| {
                ["src/log/", "src/table/", "src/store/"].iter().any(|it| path.starts_with(it))
            },
            check: memory_order,
            bad: &[
                ("src/table/split.rs", "fn f() {\n    a.store(1, Ordering::Release);\n}"),
                (
                    "src/table/split.rs",
                    "// ORDERING: elsewhere\nfn f() {\n\n\n\n\n\n    g(Ordering::Acquire)\n}",
                ),
            ],
            good: &[
                ("src/table/split.rs", "fn f() {\n    a.store(1, Ordering::Relaxed);\n}"),
                (
                    "src/table/split.rs",
                    "fn f() {\n    // ORDERING: pairs with g.\n    a.load(Ordering::Acquire);\n}",
                ),
                (
                    "src/table/split.rs",
                    "#[cfg(test)]\nmod tests { fn f() { g(Ordering::Acquire) } }",
                ),
            ],
        },
        Rule {
            name: "hash order",
            applies: is_in_library,
            check: hash_order,
            bad: &[
                (
                    "src/store/mod.rs",
                    "struct A { by: HashMap<u8, u8> }\nfn f() { for x in &self.by {} }",
                ),
                (
                    "src/store/mod.rs",
                    "fn f() {\n    let mut by = HashSet::new();\n    by.drain();\n}",
                ),
                ("src/format/key.rs", "use std::collections::HashMap;"),
            ],
            good: &[
                (
                    "src/store/mod.rs",
                    "struct A { by: HashMap<u8, u8> }\nfn f() { self.by.get(&1) }",
                ),
                (
                    "src/store/mod.rs",
                    "struct A { by: BTreeMap<u8, u8> }\nfn f() { self.by.iter() }",
                ),
                (
                    "src/store/mod.rs",
                    "fn f(by: HashMap<u8, u8>) {\n    // In any order: a sum.\n    by.values()\n}",
                ),
            ],
        },
    ]
}

/// Where attributes begin, and what they say.
fn attributes(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.code;
    let found = code.match_indices("#[").chain(code.match_indices("#![")).map(|(at, _)| at);
    found.map(|at| (at, code[at..].split(']').next().unwrap_or_default())).collect()
}

/// Whether a comment near `at`, or else in the same function, has `word`.
fn is_explained(source: &Source, at: usize, word: &str) -> bool {
    let line = source.line(at);
    let near = source.comments.lines().take(line).skip(line.saturating_sub(NEAR_LINES + 1));
    let function = source.functions().into_iter().filter(|part| part.contains(&at));
    let function = function.min_by_key(|part| part.len());
    near.into_iter().any(|it| it.contains(word))
        || function.is_some_and(|part| source.comments[part].contains(word))
}

fn memory_order(source: &Source) -> Vec<Finding> {
    let orders = ["Acquire", "Release", "AcqRel", "SeqCst"];
    let named = orders.iter().flat_map(|order| source.words_outside_tests(order));
    let used = named.filter(|at| source.code[..*at].ends_with("Ordering::"));
    let bare = used.filter(|at| !is_explained(source, *at, "ORDERING:"));
    let what = "say what it pairs with: // ORDERING: Acquire, pairs with publish()";
    bare.map(|at| (source.line(at), what.into())).collect()
}

/// Walks over hashed collections come in another order each time. That must be harmless, and a
/// comment must say so: "any order". What decides about bytes does without them.
fn hash_order(source: &Source) -> Vec<Finding> {
    const WALKS: [&str; 9] = [
        "iter()",
        "iter_mut()",
        "keys()",
        "values()",
        "values_mut()",
        "drain()",
        "into_iter()",
        "into_keys()",
        "into_values()",
    ];
    let types = ["HashMap", "HashSet"];
    let found: Vec<usize> = types.iter().flat_map(|it| source.words_outside_tests(it)).collect();
    if source.path.starts_with("src/format/") {
        let what = "no hashed collections where bytes are made";
        return found.into_iter().map(|at| (source.line(at), what.into())).collect();
    }
    let mut names: Vec<&str> =
        found.into_iter().filter_map(|at| owner(&source.code[..at])).collect();
    names.sort_unstable();
    names.dedup();
    let mut walks = Vec::new();
    for name in names {
        for at in source.words_outside_tests(name) {
            let after = source.code[at + name.len()..].strip_prefix('.').unwrap_or_default();
            let before = source.code[..at].trim_end_matches("self.").trim_end_matches("mut ");
            let is_loop = before.trim_end_matches('&').ends_with(" in ");
            if WALKS.iter().any(|walk| after.starts_with(walk)) || (is_loop && after.is_empty()) {
                walks.push((at, name));
            }
        }
    }
    walks.retain(|(at, _)| !is_explained(source, *at, "any order") && !is_sorted(source, *at));
    let what = |name| format!("a walk over the hashed {name}: say why it may come in any order");
    walks.into_iter().map(|(at, name)| (source.line(at), what(name))).collect()
}

/// Whether what a walk collects is sorted further down in the same function.
fn is_sorted(source: &Source, at: usize) -> bool {
    let functions = source.functions();
    let function = functions.iter().find(|part| part.contains(&at));
    function.is_some_and(|part| source.code[at..part.end].contains(".sort"))
}

/// The name of what a type, or its constructor, stands behind: `name: &'a mut HashMap` and
/// `name = HashMap`.
fn owner(before: &str) -> Option<&str> {
    let mut rest = before.trim_end();
    while let Some((head, last)) = rest.rsplit_once([' ', '&'])
        && (last.is_empty() || last == "mut" || last.starts_with('\''))
    {
        rest = head;
    }
    let rest = rest.trim_end_matches('&').trim_end();
    let named = rest.strip_suffix([':', '='])?.trim_end();
    let is_name = |it: char| it.is_alphanumeric() || it == '_';
    let name = &named[named.trim_end_matches(is_name).len()..];
    (!name.is_empty()).then_some(name)
}

/// Says a line a thousand times.
macro_rules! thousand {
    ($line:expr) => {
        ten!(ten!(ten!($line)))
    };
}
macro_rules! ten {
    ($it:expr) => {
        concat!($it, $it, $it, $it, $it, $it, $it, $it, $it, $it)
    };
}

/// A function and a file above the limits.
const LONG: &str = concat!("fn f() {\n", thousand!("    g();\n"), "}\n");
