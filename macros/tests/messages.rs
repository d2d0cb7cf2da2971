//! What cannot be memoized says why, and where: the functions in `ui` do not compile, with the
//! messages beside them.
//!
//! `TRYBUILD=overwrite cargo test -p firncache-macros --test messages` writes the messages down anew.

#[test]
fn messages_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
