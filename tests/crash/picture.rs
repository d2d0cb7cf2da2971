//! The files of a cache as they are at one instant, and putting them back.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The bytes of each file, by its path below the directory. Files that did not change from one
/// picture to the next are shared between them.
pub(crate) type Picture = BTreeMap<PathBuf, Rc<Vec<u8>>>;

struct Watched {
    path: PathBuf,
    file: File,
    len: usize,
    /// It may be mapped, and so change between two calls of the system.
    is_mapped: bool,
}

/// Looks at a directory again and again.
pub(crate) struct Camera {
    directory: PathBuf,
    files: Vec<Watched>,
    last: Picture,
    buffer: Vec<u8>,
}

impl Camera {
    pub(crate) fn new(directory: &Path) -> Camera {
        let directory = directory.to_owned();
        let mut camera =
            Camera { directory, files: Vec::new(), last: Picture::new(), buffer: Vec::new() };
        camera.look_around();
        camera
    }

    /// What the directory holds as far as it is known.
    pub(crate) fn last(&self) -> &Picture {
        &self.last
    }

    /// After a call of the system: there may be other files, with other names, bytes and lengths.
    /// Whether anything has changed since the last look.
    pub(crate) fn look_around(&mut self) -> bool {
        self.files.clear();
        let mut below = vec![PathBuf::new()];
        while let Some(part) = below.pop() {
            let Ok(entries) = std::fs::read_dir(self.directory.join(&part)) else { continue };
            for entry in entries.map(|entry| entry.unwrap()) {
                let path = part.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    below.push(path);
                } else if let Ok(file) = File::open(entry.path()) {
                    let len = file.metadata().unwrap().len() as usize;
                    let is_mapped = !path.starts_with("values") && !path.starts_with("procs");
                    self.files.push(Watched { path, file, len, is_mapped });
                }
            }
        }
        let before = self.last.len();
        let files = &self.files;
        self.last.retain(|path, _| files.iter().any(|watched| watched.path == *path));
        let has_fewer = self.last.len() < before;
        self.look_at(|_| true) || has_fewer
    }

    /// Whether a store has changed anything since the last look; then there is a new picture.
    pub(crate) fn look(&mut self) -> bool {
        self.look_at(|watched| watched.is_mapped)
    }

    fn look_at(&mut self, is_wanted: fn(&Watched) -> bool) -> bool {
        let mut has_changed = false;
        for watched in self.files.iter().filter(|watched| is_wanted(watched)) {
            self.buffer.resize(watched.len, 0);
            let read = watched.file.read_at(&mut self.buffer, 0).unwrap();
            assert_eq!(read, watched.len, "a file became shorter");
            if self.last.get(&watched.path).is_none_or(|known| **known != self.buffer) {
                self.last.insert(watched.path.clone(), Rc::new(self.buffer.clone()));
                has_changed = true;
            }
        }
        has_changed
    }
}

/// Puts the files back, in place: same directory, same boot, so that the cache is trusted.
pub(crate) fn put_back(picture: &Picture, directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => std::fs::remove_dir_all(entry.path()).unwrap(),
            false => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
    for (path, bytes) in picture {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &**bytes).unwrap();
    }
}
