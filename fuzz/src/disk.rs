//! The files of a store, in a directory in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The files of a store, by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A directory in memory, where there is one.
pub fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// All files below a directory.
pub fn read(path: &Path) -> Files {
    let mut files = Files::new();
    below(path, "", &mut files);
    files
}

fn below(path: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(path.join(prefix)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            below(path, &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

/// Makes the files below a directory these. Nothing may have a file mapped that becomes shorter.
pub fn write(path: &Path, files: &Files) {
    let now = read(path);
    for name in now.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(path.join(name)).unwrap();
    }
    for (name, bytes) in files {
        if now.get(name) != Some(bytes) {
            let path: PathBuf = path.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // In place: another file of the same name would not be the one that is mapped.
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
        }
    }
}
