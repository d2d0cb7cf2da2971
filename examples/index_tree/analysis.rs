//! The work that is worth caching: a digest, and what words and phrases a file is made of.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes that are read and looked at together: a file is never held in memory as a whole.
const PIECE_BYTES: usize = 256 * 1024;
/// A file with a zero byte this near to its beginning is not text.
const LOOK_BYTES: usize = 8192;
/// The longest run of letters that counts as a word.
const WORD_BYTES: usize = 40;
/// The most words of a phrase.
const PHRASE_WORDS: usize = 4;
/// How many different words and phrases are counted in one file; later ones are not. This bounds
/// the memory of a worker.
const DIFFERENT: usize = 1 << 20;
/// How many of the most frequent words, and phrases, are kept.
const FREQUENT: usize = 24;

/// What is known about the content of a file. Any type that serde knows can be a value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Analysis {
    /// SHA-256 in hexadecimal.
    pub(crate) digest: String,
    pub(crate) is_text: bool,
    pub(crate) lines: u64,
    pub(crate) words: u64,
    /// The most frequent words, or byte values if it is no text, with how often they occur.
    pub(crate) frequent: Vec<(String, u64)>,
    /// The most frequent phrases of two to four words.
    pub(crate) phrases: Vec<(String, u64)>,
    /// How long it took to find this out.
    pub(crate) cost: Duration,
}

impl Analysis {
    /// Reads and analyses a file.
    pub(crate) fn of(path: &Path) -> io::Result<Analysis> {
        let started = Instant::now();
        let mut file = File::open(path)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut digest = Sha256::new();
        let mut bytes = [0; 256];
        let mut words = Words::default();
        let mut is_text = None;
        loop {
            let len = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let piece = &piece[..len];
            digest.update(piece);
            if *is_text.get_or_insert_with(|| !piece.iter().take(LOOK_BYTES).any(|it| *it == 0)) {
                words.read(piece);
            } else {
                piece.iter().for_each(|byte| bytes[usize::from(*byte)] += 1);
            }
        }
        words.end_word();
        let is_text = is_text.unwrap_or(true);
        Ok(Analysis {
            digest: hexadecimal(&digest.finalize()),
            is_text,
            lines: words.lines,
            words: words.words,
            frequent: if is_text { words.frequent(false) } else { frequent_bytes(&bytes) },
            phrases: words.frequent(true),
            cost: started.elapsed(),
        })
    }
}

/// Counts lines, words and phrases over the pieces of a text.
#[derive(Default)]
struct Words {
    lines: u64,
    words: u64,
    /// How often words and phrases occur; the words of a phrase have a blank between them.
    counts: HashMap<Vec<u8>, u64>,
    /// The last words, with a blank between them, and where each begins.
    recent: Vec<u8>,
    starts: VecDeque<usize>,
    /// The word that is being read; it may have begun in an earlier piece.
    word: Vec<u8>,
}

impl Words {
    fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            // Whatever is not ASCII counts as a letter: mostly it is one.
            if byte.is_ascii_alphabetic() || *byte == b'_' || !byte.is_ascii() {
                self.word.push(byte.to_ascii_lowercase());
                continue;
            }
            self.lines += u64::from(*byte == b'\n');
            self.end_word();
        }
    }

    fn end_word(&mut self) {
        if (2..=WORD_BYTES).contains(&self.word.len()) {
            self.words += 1;
            self.remember();
            for start in &self.starts {
                count(&mut self.counts, &self.recent[*start..]);
            }
        }
        self.word.clear();
    }

    /// Appends the word to the recent ones, and forgets the oldest of these if they are enough.
    fn remember(&mut self) {
        if self.starts.len() == PHRASE_WORDS {
            self.starts.pop_front();
            let forgotten = self.starts.front().copied().unwrap_or_default();
            self.recent.drain(..forgotten);
            self.starts.iter_mut().for_each(|start| *start -= forgotten);
        }
        if !self.recent.is_empty() {
            self.recent.push(b' ');
        }
        self.starts.push_back(self.recent.len());
        self.recent.extend_from_slice(&self.word);
    }

    fn frequent(&self, phrases: bool) -> Vec<(String, u64)> {
        let is_wanted = |counted: &(&Vec<u8>, &u64)| counted.0.contains(&b' ') == phrases;
        let mut wanted: Vec<_> = self.counts.iter().filter(is_wanted).collect();
        // Sorted before they are made strings, which few of them need to be.
        wanted.sort_unstable_by(|one, other| other.1.cmp(one.1).then_with(|| one.0.cmp(other.0)));
        let named = wanted.into_iter().take(FREQUENT);
        named.map(|(text, count)| (String::from_utf8_lossy(text).into_owned(), *count)).collect()
    }
}

fn count(counts: &mut HashMap<Vec<u8>, u64>, what: &[u8]) {
    if let Some(count) = counts.get_mut(what) {
        *count += 1;
    } else if counts.len() < DIFFERENT {
        counts.insert(what.to_vec(), 1);
    }
}

fn frequent_bytes(counts: &[u64; 256]) -> Vec<(String, u64)> {
    let named = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let named = named.map(|(byte, count)| (format!("0x{byte:02x}"), *count));
    most_frequent(named.collect(), FREQUENT)
}

/// The most frequent of `counts`, in alphabetical order among equals.
pub(crate) fn most_frequent(mut counts: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    counts.sort_by(|(word, count), (other, more)| more.cmp(count).then_with(|| word.cmp(other)));
    counts.truncate(limit);
    counts
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
