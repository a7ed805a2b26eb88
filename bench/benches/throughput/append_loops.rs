//! The same append loop on the engine's ring, by plain system calls, on the engine's own driver of system calls (whose threads
//! make them) and on tokio-uring.
//!
//! Nothing but the write: each file has one write in flight at a time, as a partition has. With 16 files the ring drivers
//! can hand over many writes with one system call; plain calls make them one after the other.

use std::fs::File as StdFile;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use kringle_bench::throughput::{Amount, CpuOf};
use kringle_runtime::{File, Fs, IoDriver, Open, oneshot};

use crate::batches::{amount, noise};
use crate::ground::{Ground, Place, host_on};
use crate::meter::{Meter, Stopwatch, rounds};
use crate::shard::Shard;

/// All files together; cut to nothing when they are full, so that their page cache is used again.
const FILES_BYTES: usize = 64 << 20;
/// Entries of the rings, the same for both.
const RING_ENTRIES: u32 = 512;

/// What one row does.
#[derive(Clone)]
struct Loop {
    bytes: Bytes,
    files: Vec<PathBuf>,
}

impl Loop {
    fn amount(&self) -> Amount {
        amount(self.bytes.len() * self.files.len())
    }

    /// Appends to each file before all are cut.
    fn most(&self) -> u64 {
        (FILES_BYTES / self.bytes.len() / self.files.len()) as u64
    }

    /// Where the `n`-th append goes.
    fn position(&self, n: u64) -> u64 {
        n * self.bytes.len() as u64
    }
}

pub(crate) fn rows(meter: &mut Meter, ground: &mut Ground) {
    let [ring, without] = [IoDriver::Ring, IoDriver::Syscall].map(|driver| Shard::start(&host_on(driver)));
    for place in ground.places() {
        let group = format!("append loop, {}", place.filesystem);
        for (name, len) in [("4 KiB", 4 << 10), ("64 KiB", 64 << 10)] {
            for count in [1, 16] {
                let case = format!("{name} to {count} {}", if count == 1 { "file" } else { "files" });
                let what = Loop { bytes: noise(len).into(), files: names(&place, count) };
                engine(meter, [&group, &case, "ring"], &what, &ground.fs(), &ring);
                syscalls(meter, [&group, &case], &what);
                engine(meter, [&group, &case, "engine on syscalls"], &what, &ground.fs(), &without);
                tokio_uring(meter, [&group, &case], &what);
                // Only those that the filter let run exist.
                what.files.iter().for_each(|path| drop(std::fs::remove_file(path)));
            }
        }
    }
}

fn names(place: &Place, count: usize) -> Vec<PathBuf> {
    (0..count).map(|n| place.dir.join(format!("loop-{n}"))).collect()
}

fn engine(meter: &mut Meter, name: [&str; 3], what: &Loop, fs: &Fs, shard: &Shard) {
    meter.row(name, what.amount(), CpuOf::Process, |iterations, watch| {
        let open = |path| fs.open(path, Open::Create).expect("a file of a bench");
        let files: Vec<File> = what.files.iter().map(open).collect();
        for round in rounds(iterations, what.most()) {
            files.iter().for_each(|file| file.set_len(0).expect("cut"));
            let (what, files, mut inner) = (what.clone(), files.clone(), watch.another());
            let inner = shard.run(async move |rt| {
                inner.start();
                let mut done = Vec::new();
                for file in files {
                    let (rt2, what, (reply, answer)) = (rt.clone(), what.clone(), oneshot());
                    rt.spawn(async move {
                        for n in 0..round {
                            let written = rt2.write_at(&file, vec![what.bytes.clone()], what.position(n)).await;
                            written.expect("written");
                        }
                        reply.send(());
                    });
                    done.push(answer);
                }
                for one in done {
                    one.await.expect("the task does not panic");
                }
                inner.stop();
                inner
            });
            watch.add(&inner);
        }
    });
}

fn syscalls(meter: &mut Meter, [group, case]: [&str; 2], what: &Loop) {
    meter.row([group, case, "syscalls"], what.amount(), CpuOf::Process, |iterations, watch| {
        let files: Vec<StdFile> = what.files.iter().map(|path| StdFile::create(path).expect("created")).collect();
        for round in rounds(iterations, what.most()) {
            files.iter().for_each(|file| file.set_len(0).expect("cut"));
            watch.time(|| {
                for n in 0..round {
                    for file in &files {
                        file.write_all_at(&what.bytes, what.position(n)).expect("written");
                    }
                }
            });
        }
    });
}

fn tokio_uring(meter: &mut Meter, [group, case]: [&str; 2], what: &Loop) {
    meter.row([group, case, "tokio-uring"], what.amount(), CpuOf::Process, |iterations, watch| {
        for round in rounds(iterations, what.most()) {
            let files = what.files.iter().map(|path| StdFile::create(path).expect("created")).collect();
            on_tokio_uring(tokio_uring_round(what, files, round, watch));
        }
    });
}

async fn tokio_uring_round(what: &Loop, files: Vec<StdFile>, round: u64, watch: &mut Stopwatch) {
    watch.start();
    let mut tasks = Vec::new();
    for file in files {
        let what = what.clone();
        tasks.push(tokio_uring::spawn(async move {
            let file = tokio_uring::fs::File::from_std(file);
            // Its buffers are owned by the operation; this one is handed to and fro.
            let mut buffer = what.bytes.to_vec();
            for n in 0..round {
                let (written, back) = file.write_all_at(buffer, what.position(n)).await;
                written.expect("written");
                buffer = back;
            }
            file
        }));
    }
    let mut files = Vec::new();
    for task in tasks {
        files.push(task.await.expect("the task does not panic"));
    }
    watch.stop();
    for file in files {
        file.close().await.expect("closed");
    }
}

/// Runs a future on tokio-uring, set up as its users do on a kernel that can.
pub(crate) fn on_tokio_uring<F: Future>(future: F) -> F::Output {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring).start(future)
}
