//! Records that are not in the page cache are waited for without holding up anybody, then leave by sendfile as the others do: the same
//! bytes, and each way is counted.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use kringle_log::Compression;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use support::{TestBroker, batch};

const ADMIN: &str = "kringle.admin.listener=127.0.0.1:0";

/// Bytes that left by sendfile, bytes that left as a copy, and how often the disk was waited for.
fn sent(broker: &TestBroker) -> [f64; 3] {
    let sum = |name| broker.metric(name).into_iter().sum();
    [
        sum("kringle_fetch_bytes_sendfile_total"),
        sum("kringle_fetch_bytes_ring_total"),
        sum("kringle_fetch_cold_waits_total"),
    ]
}

/// Fetches everything from an offset on once; the bytes, and what [`sent`] says of them.
fn fetch(broker: &TestBroker, from: i64) -> (Bytes, [f64; 3]) {
    let before = sent(broker);
    let (error, _, bytes) = broker.connect().fetch("t", 0, from, 0);
    assert_eq!(error, 0);
    let after = sent(broker);
    (bytes, std::array::from_fn(|i| after[i] - before[i]))
}

/// Drops the file from the page cache. Only pages that are on disk go.
fn chill(path: &Path) {
    let file = File::open(path).expect("the segment is there");
    file.sync_all().expect("synced");
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advice is taken");
}

#[test]
fn a_cold_fetch_is_the_same_bytes_as_a_hot_one_and_leaves_the_same_way() {
    // Beside the test's binary rather than in a temporary directory, which may be memory that nothing drops.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let broker = TestBroker::start_on(home.path(), &[ADMIN]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    // More batches than the log remembers the places of.
    for i in 0..90_u8 {
        let (codec, value) = if i % 2 == 0 { (Compression::None, 30_000) } else { (Compression::Lz4, 1000) };
        let value: Vec<u8> = (0..value).map(|at: usize| i ^ at.to_le_bytes()[0]).collect();
        assert_eq!(client.produce("t", 0, -1, batch(codec, &[&value])), (0, i.into()));
    }
    for from in [0, 7] {
        let (hot, [by_sendfile, copied, waits]) = fetch(&broker, from);
        assert!(hot.len() > 1_000_000, "{} bytes", hot.len());
        let len = f64::from(u32::try_from(hot.len()).expect("a few megabytes"));
        assert_eq!((by_sendfile, copied, waits), (len, 0.0, 0.0), "just written, so all in the page cache");

        chill(&home.path().join("t-0/00000000000000000000.log"));
        let (cold, [by_sendfile, copied, waits]) = fetch(&broker, from);
        assert_eq!(cold, hot);
        assert!(waits > 0.0, "nothing was read from disk");
        assert_eq!(by_sendfile + copied, len);

        let (warm, [by_sendfile, copied, waits]) = fetch(&broker, from);
        assert_eq!(warm, hot);
        assert_eq!((by_sendfile, copied, waits), (len, 0.0, 0.0), "the cold read has filled the page cache");
    }
}
