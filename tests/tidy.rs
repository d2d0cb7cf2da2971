//! The house rules, as a test: what a compiler and clippy cannot see.
//!
//! Every file is read as text ([`source`]), every rule ([`floors`], [`rules`]) says what it does not
//! like about it, as `file:line: what, and what to do`. Each rule carries snippets that break it and
//! snippets that do not, so that it is known to be able to fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources is to fail")]

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use source::Source;

/// A line, and what is wrong there.
type Finding = (usize, String);

/// A rule of the house.
struct Rule {
    name: &'static str,
    /// Whether it holds for the file with this path.
    applies: fn(&str) -> bool,
    check: fn(&Source) -> Vec<Finding>,
    /// Path and text of files in which it must find something.
    bad: &'static [(&'static str, &'static str)],
    /// Path and text of files in which it must find nothing.
    good: &'static [(&'static str, &'static str)],
}

fn all_rules() -> Vec<Rule> {
    let mut all = floors::rules();
    all.extend(rules::rules());
    all
}

/// Where rules look: folders as a whole, and single files.
const PLACES: [&str; 10] = [
    "src",
    "tests",
    "examples",
    "benches",
    "fuzz/fuzz_targets",
    "macros/src",
    "macros/tests",
    "docs",
    "README.md",
    "CHANGELOG.md",
];

/// All files of the repository that rules can be about, with `/` in their paths.
fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<String> = PLACES.map(String::from).into();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        if full.is_dir() {
            for entry in fs::read_dir(&full).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name != "target" {
                    waiting.push(format!("{path}/{name}"));
                }
            }
        } else if path.ends_with(".rs") || path.ends_with(".md") {
            // What is not there yet breaks no rule.
            if let Ok(text) = fs::read_to_string(&full) {
                found.push(Source::new(&path, &text));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    source::mark_test_files(&mut found);
    found
}

#[test]
fn the_house_rules_hold() {
    let sources = repository();
    assert!(
        sources.iter().any(|it| it.path == "src/lib.rs"),
        "the sources are not where they were"
    );
    let mut messages = Vec::new();
    for rule in all_rules() {
        for source in sources.iter().filter(|source| (rule.applies)(&source.path)) {
            let found = (rule.check)(source);
            let place = |(line, what): Finding| format!("{}:{line}: {what}", source.path);
            messages.extend(found.into_iter().map(place));
        }
    }
    assert!(messages.is_empty(), "\n{}\n", messages.join("\n"));
}

#[test]
fn every_rule_can_fail_and_can_hold() {
    for Rule { name, applies, check, bad, good } in all_rules() {
        assert!(!bad.is_empty() && !good.is_empty(), "{name} has no examples");
        for (path, text) in bad {
            assert!(applies(path), "{name} does not look at {path}");
            let found = check(&Source::new(path, text));
            assert!(!found.is_empty(), "{name} finds nothing in {path}:\n{text}");
        }
        for (path, text) in good {
            let found = check(&Source::new(path, text));
            assert!(found.is_empty(), "{name} finds {found:?} in {path}:\n{text}");
        }
    }
}

#[test]
fn files_above_the_limits_are_found() {
    let limits: Vec<Rule> =
        all_rules().into_iter().filter(|rule| rule.name.ends_with("size")).collect();
    let found = |text: &str| {
        let source = Source::new("src/error.rs", text);
        limits.iter().map(|rule| (rule.check)(&source).len()).sum::<usize>()
    };
    let function = |lines: usize| format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    assert_eq!(found(&function(68)), 0);
    assert_eq!(found(&function(69)), 1);
    assert_eq!(found(&format!("//! x\n\n{}", "const A: u8 = 1; // one\n".repeat(400))), 0);
    assert_eq!(found(&format!("//! x\n\n{}", "const A: u8 = 1; // one\n".repeat(401))), 1);
}

#[test]
fn files_of_test_modules_may_import_anything() {
    let mut files = [
        Source::new("src/table/mod.rs", "//! x\n#[cfg(all(test, loom))]\nmod models;\n"),
        Source::new("src/table/models.rs", "//! x\nuse crate::cache::Cache;\n"),
        Source::new("src/table/split.rs", "//! x\nuse crate::cache::Cache;\n"),
    ];
    source::mark_test_files(&mut files);
    let rule = &floors::rules()[0];
    assert_eq!(files.map(|file| (rule.check)(&file).len()), [0, 0, 1]);
}
