//! Records leave by sendfile where the page cache has them and through the ring where it has not: the same bytes, and each
//! way is counted.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use kringle_log::Compression;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use support::{TestBroker, batch};

const ADMIN: &str = "kringle.admin.listener=127.0.0.1:0";

/// Bytes that left by sendfile, and through the ring.
fn sent(broker: &TestBroker) -> (f64, f64) {
    let sum = |name| broker.metric(name).into_iter().sum();
    (sum("kringle_fetch_bytes_sendfile_total"), sum("kringle_fetch_bytes_ring_total"))
}

/// Fetches everything once; the bytes, and how many of them left by sendfile and through the ring.
fn fetch(broker: &TestBroker) -> (Bytes, f64, f64) {
    let before = sent(broker);
    let (error, _, bytes) = broker.connect().fetch("t", 0, 0, 0);
    assert_eq!(error, 0);
    let after = sent(broker);
    (bytes, after.0 - before.0, after.1 - before.1)
}

/// Drops the file from the page cache. Only pages that are on disk go.
fn chill(path: &Path) {
    let file = File::open(path).expect("the segment is there");
    file.sync_all().expect("synced");
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("advice is taken");
}

#[test]
fn a_cold_fetch_through_the_ring_is_the_same_bytes_as_a_hot_one_by_sendfile() {
    // Beside the test's binary rather than in a temporary directory, which may be memory that nothing drops.
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let broker = TestBroker::start_on(home.path(), &[ADMIN]);
    let mut client = broker.connect();
    client.create_topic("t", 1);
    for i in 0..20_u8 {
        let (codec, value) = if i % 2 == 0 { (Compression::None, 100_000) } else { (Compression::Lz4, 1000) };
        let value: Vec<u8> = (0..value).map(|at: usize| i ^ at.to_le_bytes()[0]).collect();
        assert_eq!(client.produce("t", 0, -1, batch(codec, &[&value])), (0, i.into()));
    }

    let (hot, by_sendfile, by_ring) = fetch(&broker);
    assert!(hot.len() > 1_000_000, "{} bytes", hot.len());
    let len = f64::from(u32::try_from(hot.len()).expect("a few megabytes"));
    assert_eq!((by_sendfile, by_ring), (len, 0.0), "just written, so all in the page cache");

    chill(&home.path().join("t-0/00000000000000000000.log"));
    let (cold, by_sendfile, by_ring) = fetch(&broker);
    assert_eq!(cold, hot);
    assert!(by_ring > 0.0, "nothing was read from disk");
    assert_eq!(by_sendfile + by_ring, len, "what readahead brought in may leave by sendfile again");

    let (warm, by_sendfile, by_ring) = fetch(&broker);
    assert_eq!(warm, hot);
    assert_eq!((by_sendfile, by_ring), (len, 0.0), "the cold read has filled the page cache");
}
