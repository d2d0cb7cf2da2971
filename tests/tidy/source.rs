//! A source file, taken apart just far enough for the rules: what is code, what is comment, what is
//! only compiled for tests, and where functions begin and end.
//!
//! ```text
//! text      let a = "x // y"; // why        as it is
//! code      let a =         ;               comments, strings and characters are blanks
//! comments                    // why        all else is blanks
//! ```
//! All three have the same lines, and the same bytes at the same places.

use std::ops::Range;

/// A file to look at.
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) comments: String,
    /// What is compiled for tests only, as ranges of bytes.
    tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let (code, comments) = take_apart(text);
        let tests = test_items(&code);
        Source { path: path.into(), text: text.into(), code, comments, tests }
    }

    /// The line, from one, of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Where a word stands in the code, not as a part of another word.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.code, word)
    }

    /// As [`Source::words`], but outside of what is compiled for tests only.
    pub(crate) fn words_outside_tests<'a>(
        &'a self,
        word: &'a str,
    ) -> impl Iterator<Item = usize> + 'a {
        self.words(word).filter(|at| !self.is_test(*at))
    }

    /// The functions that have a body, from `fn` to the last brace.
    pub(crate) fn functions(&self) -> Vec<Range<usize>> {
        let item = |at: usize| (at, item_end(&self.code, at));
        let found = self.words("fn").map(item);
        found.filter(|(_, end)| self.code[..*end].ends_with('}')).map(|(at, end)| at..end).collect()
    }

    /// How many modules within this file are around a place.
    pub(crate) fn depth(&self, at: usize) -> usize {
        let bodies = self.words("mod").map(|start| start..item_end(&self.code, start));
        bodies.filter(|body| body.contains(&at)).count()
    }

    /// How many lines of a part hold code.
    pub(crate) fn code_lines(&self, part: Range<usize>) -> usize {
        self.code[part].lines().filter(|line| !line.trim().is_empty()).count()
    }
}

/// Where `word` stands in `text`, not as a part of another word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (&text.as_bytes()[..*at], &text.as_bytes()[at + word.len()..]);
        !is_part(before.last()) && !is_part(after.first())
    })
}

/// The word at the beginning of `text`, after blanks.
pub(crate) fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(text.len());
    &text[..end]
}

/// Marks the files that belong to modules which are compiled for tests only.
pub(crate) fn mark_test_files(sources: &mut [Source]) {
    let mut stems = Vec::new();
    for source in sources.iter() {
        let folder = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let folder = folder.trim_end_matches("/lib");
        for at in source.words("mod").filter(|at| source.is_test(*at)) {
            stems.push(format!("{folder}/{}", first_word(&source.code[at + "mod".len()..])));
        }
    }
    for source in sources {
        let belongs = |stem: &String| {
            let rest = source.path.strip_prefix(stem.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if stems.iter().any(belongs) {
            source.tests.push(0..source.text.len());
        }
    }
}

/// The items behind an attribute that says: for tests only.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[cfg(").chain(code.match_indices("#![cfg(")) {
        let Some(len) = code[at..].find(']') else { continue };
        let condition = &code[at..at + len];
        if words(condition, "test").next().is_none() || condition.contains("not(test") {
            continue;
        }
        let is_inner = code[at..].starts_with("#!");
        let end = if is_inner { code.len() } else { item_end(code, at + len + 1) };
        found.push(at..end);
    }
    found
}

/// Where the item that begins at `at` ends: behind its body, or behind its semicolon.
fn item_end(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    let mut is_import = false;
    for (index, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'u' if depth == 0 && code[index..].starts_with("use ") => is_import = true,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return index,
            b'}' if depth == 1 && !is_import => return index + 1,
            b')' | b']' | b'}' => depth -= 1,
            b';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    code.len()
}

/// Separates code and comments; what belongs to neither of both is blank in both.
fn take_apart(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
    let mut code: Vec<u8> = bytes.iter().map(blank).collect();
    let mut comments = code.clone();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = at
            + if let Some(len) = comment_len(rest) {
                comments[at..at + len].copy_from_slice(&rest[..len]);
                len
            } else if let Some(len) =
                literal_len(rest, at.checked_sub(1).map(|before| bytes[before]))
            {
                len
            } else {
                // What is not ASCII is a part of a name, and may be any letter.
                code[at] = if rest[0].is_ascii() { rest[0] } else { b'a' };
                1
            };
        at = end;
    }
    let whole = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (whole(code), whole(comments))
}

/// The length of the comment at the beginning of `rest`, if there is one.
fn comment_len(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the string or character at the beginning of `rest`, if there is one.
fn literal_len(rest: &[u8], before: Option<u8>) -> Option<usize> {
    match rest {
        [b'"', ..] => Some(quoted_len(rest, b'"')),
        [b'\'', b'\\', ..] => Some(quoted_len(rest, b'\'')),
        // A character, or a lifetime, which has no second quote.
        [b'\'', ..] => {
            let inside = std::str::from_utf8(&rest[1..rest.len().min(6)]);
            let inside = inside.or_else(|it| std::str::from_utf8(&rest[1..1 + it.valid_up_to()]));
            let len = inside.ok()?.chars().next()?.len_utf8();
            (rest.get(1 + len) == Some(&b'\'')).then_some(len + 2)
        }
        [b'r', ..] if !before.is_some_and(is_name_but_prefix) => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            let end = [b"\"".as_slice(), &rest[1..=hashes]].concat();
            let body = rest.get(2 + hashes..).filter(|_| rest.get(1 + hashes) == Some(&b'"'))?;
            let len = body.windows(end.len()).position(|it| it == end).unwrap_or(body.len());
            Some((2 + hashes + len + end.len()).min(rest.len()))
        }
        _ => None,
    }
}

/// Whether a letter before `r` makes that a part of a name; `b` and `c` only say of which kind the
/// string is.
fn is_name_but_prefix(byte: u8) -> bool {
    (byte.is_ascii_alphanumeric() || byte == b'_') && byte != b'b' && byte != b'c'
}

fn quoted_len(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

#[test]
fn code_and_comments_are_told_apart() {
    let code = |text: &str| Source::new("src/x.rs", text).code;
    assert_eq!(code("a // b\nc"), "a     \nc");
    assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
    assert_eq!(code(r#"a("b \" // c", d)"#), "a(           , d)");
    assert_eq!(code(r##"a(r#"b " c"#, br"\", r#type)"##), "a(          , b    , r#type)");
    assert_eq!(code(r"a('b', '\'', 'ä', &'static d)"), r"a(   ,     ,     , &'static d)");
    assert_eq!(Source::new("src/x.rs", "a \"// b\" // c").comments, "         // c");
}

#[test]
fn test_items_and_functions_end_where_they_end() {
    let text = "#[cfg(test)]\nuse crate::{a, b};\nfn c() -> [u8; 2] { { } }\n\
                #[cfg(test)]\nmod tests {\n  fn d() {}\n}\nfn e();\n#[cfg(not(test))]\nfn f() {}\n";
    let source = Source::new("src/x.rs", text);
    let is_test = |what: &str| source.is_test(text.find(what).unwrap());
    assert_eq!(
        ["b}", "fn c", "fn d", "fn e", "fn f"].map(is_test),
        [true, false, true, false, false]
    );
    let functions = source.functions();
    let bodies: Vec<&str> = functions.iter().map(|part| &text[part.clone()]).collect();
    assert_eq!(bodies, ["fn c() -> [u8; 2] { { } }", "fn d() {}", "fn f() {}"]);
}
