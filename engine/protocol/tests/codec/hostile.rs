//! Bytes that no honest peer sends: an error, no panic, and no memory that the bytes do not account for.

use bytes::Bytes;
use kringle_protocol::{Reader, dynamic};

use crate::support::{SplitMix, Typed, every_version, sample};

/// What a message may take in memory for each byte of it on the wire: the largest struct has some 200 bytes and is
/// never less than a few bytes long.
const MEMORY_PER_BYTE: usize = 200;

/// Both codecs read the bytes, agree, and stay within the memory that the bytes justify.
fn both_survive(typed: &Typed, version: i16, bytes: &Bytes, what: &str) {
    let limit = bytes.len() * MEMORY_PER_BYTE;
    let limited = (typed.recode)(Reader::with_memory_limit(bytes.clone(), limit), version);
    let free = (typed.recode)(Reader::new(bytes.clone()), version);
    assert_eq!(limited, free, "memory, {} {version}, {what}: {bytes:?}", typed.name);
    let dynamic = dynamic::decode(typed.name, version, &mut Reader::new(bytes.clone()));
    assert_eq!(dynamic.is_ok(), free.is_ok(), "{} {version}, {what}: {dynamic:?}, {free:?}", typed.name);
}

#[test]
fn a_message_cut_at_any_byte_is_an_error() {
    for (typed, version) in every_version() {
        let (_, bytes) = sample(typed.name, version, 1);
        let step = 1 + bytes.len() / 300;
        for len in (0..bytes.len()).step_by(step) {
            let cut = (typed.recode)(Reader::new(bytes.slice(..len)), version);
            assert!(cut.is_err(), "{} {version}, {len} of {} bytes", typed.name, bytes.len());
        }
    }
}

#[test]
fn impossible_lengths_and_counts_at_any_byte_are_survived() {
    let lengths: [&[u8]; 6] = [
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x08",
        b"\xff\xff\xff\xff\xff\xff",
    ];
    for (typed, version) in every_version() {
        let (_, bytes) = sample(typed.name, version, 2);
        let step = 1 + bytes.len() / 60;
        for at in (0..bytes.len()).step_by(step) {
            for length in lengths {
                let mut damaged = bytes.to_vec();
                damaged.splice(at..(at + length.len()).min(bytes.len()), length.iter().copied());
                both_survive(typed, version, &damaged.into(), &format!("{length:?} at byte {at}"));
            }
        }
    }
}

#[test]
fn random_bytes_are_survived() {
    for (typed, version) in every_version() {
        for seed in 0..40 {
            let mut numbers = SplitMix(seed);
            let len = numbers.next() % 120;
            // Small numbers lead deeper into a message than large ones.
            let mask = if seed % 2 == 0 { 0xff } else { 0x03 };
            let bytes: Bytes = (0..len).map(|_| numbers.next().to_be_bytes()[0] & mask).collect();
            both_survive(typed, version, &bytes, &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_count_of_two_billion_in_a_request_of_a_few_bytes_is_refused_at_once() {
    for (typed, version) in every_version() {
        for bytes in [&b"\x7f\xff\xff\xff"[..], b"\xff\xff\xff\xff\x07", b"\0\0\0\x01\x7f\xff\xff\xff"] {
            both_survive(typed, version, &Bytes::from_static(bytes), "counts");
        }
    }
    let produce = [&b"\xff\xff\0\x01\0\0\0\0"[..], b"\x7f\xff\xff\xff"].concat();
    let refused = dynamic::decode("ProduceRequest", 3, &mut Reader::new(produce.into()));
    assert!(refused.is_err());
}
