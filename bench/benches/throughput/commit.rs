//! Group commit: what it takes to make an append to each of some files durable.
//!
//! Each round appends 4 KiB to every file, untimed, and then makes all of it durable, timed. `syncfs` also writes what
//! others have dirtied on the same filesystem: on a busy machine its rows say more about them.

use kringle_bench::throughput::{Amount, CpuOf};
use kringle_runtime::{File, Open, Rt, oneshot};

use crate::ground::{Ground, Place};
use crate::meter::Meter;
use crate::shard::Shard;

const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    InTurn,
    SideBySide,
    Syncfs,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::InTurn => "fdatasync in turn",
            Way::SideBySide => "fdatasync side by side",
            Way::Syncfs => "one syncfs",
        }
    }
}

pub(crate) fn rows(meter: &mut Meter, ground: &mut Ground) {
    let shard = Shard::start(&ground.host);
    for place in ground.places() {
        for count in [1, 4, 16, 64] {
            for way in [Way::InTurn, Way::SideBySide, Way::Syncfs] {
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
    let mut position = 0;
    meter.row([&group, &case, way.name()], Amount::Operations(1), CpuOf::Process, |iterations, watch| {
        if files.is_empty() {
            let open = |path| ground.fs().open(path, Open::Create).expect("a file of a bench");
            files = paths.iter().map(open).collect();
        }
        let (dir, files, mut inner) = (place.dir.clone(), files.clone(), watch.another());
        let from = position;
        position += iterations * PAGE_BYTES as u64;
        let inner = shard.run(async move |rt| {
            // The appends between the rounds are made here.
            rt.allow_blocking();
            for round in 0..iterations {
                let at = from + round * PAGE_BYTES as u64;
                append(&files, at);
                inner.start();
                match way {
                    Way::InTurn => in_turn(&rt, &files).await,
                    Way::SideBySide => side_by_side(&rt, &files).await,
                    Way::Syncfs => {
                        let dir = dir.clone();
                        rt.blocking(move |fs| fs.sync_fs(&dir)).await.expect("synced");
                    }
                }
                inner.stop();
            }
            inner
        });
        watch.add(&inner);
    });
    if !files.is_empty() {
        paths.iter().for_each(|path| std::fs::remove_file(path).expect("the file of a bench"));
    }
}

fn append(files: &[File], at: u64) {
    let page = [7; PAGE_BYTES];
    for file in files {
        file.write_all_at(&mut [std::io::IoSlice::new(&page)], at).expect("written");
    }
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
