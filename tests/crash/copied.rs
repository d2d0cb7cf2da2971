//! A directory that is copied while it is written to: no instant of it, but no harm either.

use std::path::Path;

use crate::{asked, open, place};

/// Copies the files in the order of their names, with writes in between.
fn copy_slowly(from: &Path, to: &Path, mut between: impl FnMut()) {
    std::fs::create_dir_all(to).unwrap();
    let entries = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> =
        entries.filter(|it| it.path().is_file()).map(|it| it.file_name()).collect();
    names.sort();
    for name in names {
        // A segment may have been used again meanwhile: then it is missing in the copy.
        if let Ok(bytes) = std::fs::read(from.join(&name)) {
            std::fs::write(to.join(&name), bytes).unwrap();
        }
        between();
    }
}

/// The copy lies elsewhere, so its table is not believed, but made anew from its log.
#[test]
fn a_copy_of_a_live_directory_holds_only_what_was_written() {
    for round in 0..asked("CRASH_COPIES", 20) {
        let (place, directory) = place();
        let cache = open(&directory);
        let mut version = 0_u64;
        let mut write = || {
            for key in 0..40 + round {
                version += 1;
                cache.set_bytes(key, &[key, version].map(u64::to_le_bytes).concat()).unwrap();
                if version.is_multiple_of(5) {
                    cache.delete((key + version) % 40).unwrap();
                }
            }
        };
        (0..8).for_each(|_| write());
        let copy = place.path().join("copy");
        copy_slowly(&directory, &copy, write);
        let copied = open(&copy);
        let report = copied.check().unwrap();
        assert!(report.is_clean(), "{report}");
        for key in 0..40 + round {
            let Some(value) = copied.get_bytes(key).unwrap() else { continue };
            let word =
                |at: usize| u64::from_le_bytes(value[8 * at..8 * at + 8].try_into().unwrap());
            assert!(word(0) == key && (1..=version).contains(&word(1)), "{key}: {value:?}");
        }
        copied.set("new", &1).unwrap();
        let report = copied.check().unwrap();
        assert!(report.is_clean(), "{report}");
    }
}
