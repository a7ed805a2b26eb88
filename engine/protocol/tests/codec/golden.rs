//! The bytes of every message and version, as hashes: a change of any encoding shows.
//!
//! `golden.txt` has a line per version: message, version, hash over the default and a few random values. After a change
//! that is meant: `GOLDEN=write cargo test -p kringle-protocol golden`, and look at the difference.

use std::fmt::Write;

use crate::support::{every_version, sample};

/// Random values that go into one hash.
const SAMPLES: u64 = 16;

#[test]
fn no_encoding_has_changed() {
    let mut text = String::new();
    for (typed, version) in every_version() {
        let mut hash = Fnv::new();
        hash.add(&(typed.default)(version).unwrap_or_default());
        for seed in 0..SAMPLES {
            hash.add(&sample(typed.name, version, seed).1);
        }
        writeln!(text, "{} {version} {:016x}", typed.name, hash.0).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/codec/golden.txt");
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
        #[allow(clippy::disallowed_methods, reason = "a test that is asked to has no runtime")]
        std::fs::write(path, text).unwrap();
        return;
    }
    let golden = include_str!("golden.txt");
    let changed: Vec<_> = text.lines().filter(|line| !golden.lines().any(|known| known == *line)).collect();
    assert!(changed.is_empty(), "changed or new: {changed:#?}");
    assert_eq!(golden.lines().count(), text.lines().count(), "a message or version is gone");
}

/// FNV-1a, 64 bits; lengths go in too, so that samples cannot run into each other.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
