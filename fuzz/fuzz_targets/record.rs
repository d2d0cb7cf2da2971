//! Bytes as records, headers, keys and values: decoders never panic, never read beyond, and never
//! ask for more memory than the bytes can stand for.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firncache::fuzzing::decode_all(bytes));
