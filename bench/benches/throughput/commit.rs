//! Group commit: what it takes to make an append to each of some files durable.
//!
//! Each round appends 4 KiB to every file, untimed, and then makes all of it durable, timed. `syncfs` also writes what
//! others have dirtied on the same filesystem: on a busy machine its rows say more about them. A journal's record is what the broker
//! does: the files' bytes are read back from the page cache, summed, and written with one direct write that is flushed, into blocks that were
//! written before. That they must reach their own files later is not in it.
//!
//! Files are cut and begun again when they have grown, as everywhere in these benches: without that the journal's way, which never makes them
//! durable, would fill the disk.

use std::io::IoSlice;
use std::path::Path;

use bytes::Bytes;
use kringle_bench::throughput::{Amount, CpuOf};
use kringle_runtime::{DirectBuf, DirectPool, File, Fs, Open, Rt, oneshot};

use crate::ground::{Ground, Place};
use crate::meter::Meter;
use crate::shard::Shard;

const PAGE_BYTES: usize = 4096;
/// Of the journal: the broker's slots are as long.
const JOURNAL_BYTES: u64 = 16 << 20;
/// When the files have so much together, they are cut to nothing.
const FILES_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    InTurn,
    SideBySide,
    Syncfs,
    Journal,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::InTurn => "fdatasync in turn",
            Way::SideBySide => "fdatasync side by side",
            Way::Syncfs => "one syncfs",
            Way::Journal => "one record of a journal",
        }
    }
}

pub(crate) fn rows(meter: &mut Meter, ground: &mut Ground) {
    let shard = Shard::start(&ground.host);
    for place in ground.places() {
        for count in [1, 4, 16, 64] {
            for way in [Way::InTurn, Way::SideBySide, Way::Syncfs, Way::Journal] {
                row(meter, ground, &place, count, way, &shard);
            }
        }
    }
}

fn row(meter: &mut Meter, ground: &Ground, place: &Place, count: usize, way: Way, shard: &Shard) {
    let group = format!("group commit, {}", place.filesystem);
    let case = format!("4 KiB to each of {count} files, rounds");
    let paths: Vec<_> = (0..count).map(|n| place.dir.join(format!("commit-{n}"))).collect();
    let mut files: Vec<File> = Vec::new();
    let journal_path = place.dir.join("commit-journal");
    let mut journal = None;
    let mut rounds = 0;
    let rounds_until_cut = FILES_BYTES / (count * PAGE_BYTES) as u64;
    meter.row([&group, &case, way.name()], Amount::Operations(1), CpuOf::Process, |iterations, watch| {
        if files.is_empty() {
            let open = |path| ground.fs().open(path, Open::Create).expect("a file of a bench");
            files = paths.iter().map(open).collect();
            journal = (way == Way::Journal).then(|| lay_journal(&ground.fs(), &journal_path));
        }
        let (dir, files, journal, mut inner) = (place.dir.clone(), files.clone(), journal.clone(), watch.another());
        let from = rounds;
        rounds += iterations;
        let inner = shard.run(async move |rt| {
            // The appends between the rounds are made here.
            rt.allow_blocking();
            let pool = DirectPool::default();
            for round in from..from + iterations {
                let at = round % rounds_until_cut * PAGE_BYTES as u64;
                append(&files, at);
                inner.start();
                match way {
                    Way::InTurn => in_turn(&rt, &files).await,
                    Way::SideBySide => side_by_side(&rt, &files).await,
                    Way::Syncfs => {
                        let dir = dir.clone();
                        rt.blocking(move |fs| fs.sync_fs(&dir)).await.expect("synced");
                    }
                    Way::Journal => {
                        let journal = journal.as_ref().expect("laid before the first round");
                        // A record never crosses the journal's end: their length divides it.
                        let place = (at * count as u64) % JOURNAL_BYTES;
                        rt.write_durably(journal, record(&pool, &files, at), place).await.expect("written");
                    }
                }
                inner.stop();
            }
            inner
        });
        watch.add(&inner);
    });
    if !files.is_empty() {
        if journal.is_some() {
            std::fs::remove_file(&journal_path).expect("the journal of a bench");
        }
        paths.iter().for_each(|path| std::fs::remove_file(path).expect("the file of a bench"));
    }
}

fn append(files: &[File], at: u64) {
    let page = [7; PAGE_BYTES];
    for file in files {
        if at == 0 {
            file.set_len(0).expect("cut");
        }
        file.write_all_at(&mut [IoSlice::new(&page)], at).expect("written");
    }
}

fn lay_journal(fs: &Fs, path: &Path) -> File {
    let file = fs.open(path, Open::Create).expect("a file of a bench");
    let zeros = vec![0; usize::try_from(JOURNAL_BYTES).expect("16 MiB")];
    file.write_all_at(&mut [IoSlice::new(&zeros)], 0).expect("written");
    file.sync_all().expect("synced");
    fs.open_direct(path).expect("a file that can be written past the page cache")
}

/// What was appended to the files, in one buffer, with its checksum in place of its first bytes.
fn record(pool: &DirectPool, files: &[File], at: u64) -> Bytes {
    let mut buf: DirectBuf = pool.take(files.len() * PAGE_BYTES);
    for file in files {
        file.read_exact_cached_at(buf.extend(PAGE_BYTES), at).expect("read");
    }
    let sum = crc32c::crc32c(buf.filled_mut());
    buf.filled_mut()[..4].copy_from_slice(&sum.to_be_bytes());
    buf.freeze()
}

async fn in_turn(rt: &Rt, files: &[File]) {
    for file in files {
        rt.datasync(file).await.expect("synced");
    }
}

async fn side_by_side(rt: &Rt, files: &[File]) {
    let mut done = Vec::new();
    for file in files {
        let (rt2, file, (reply, answer)) = (rt.clone(), file.clone(), oneshot());
        rt.spawn(async move { reply.send(rt2.datasync(&file).await) });
        done.push(answer);
    }
    for one in done {
        one.await.expect("the task does not panic").expect("synced");
    }
}
