//! What the runtime costs on this machine: `cargo run --release -p kringle-runtime --example measure [DRIVER ...]`.
//!
//! Each line is one measurement, the median of five rounds. Both ends run on this machine, so divide by two what two ends share.
//! A driver is `ring` or `syscall`; without one it is what a broker would take. Several (`ring syscall ring syscall`) are measured
//! in turn, each in a process of its own, and shown side by side: read a difference between drivers against that between the
//! columns of one.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measurement for people"
)]

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use kringle_runtime::{File, Host, IoDriver, LocalBoxFuture, Open, RealOptions, Reply, Rt, Socket, channel, oneshot};
use nix::sys::resource::{UsageWho, getrusage};

const ROUNDS: usize = 5;

/// Microseconds per operation, the median of the rounds.
async fn per_operation<F: AsyncFnMut()>(rt: &Rt, operations: u32, mut round: F) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rt.yield_now().await;
        let start = std::time::Instant::now();
        round().await;
        rounds.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(operations));
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn line(what: &str, us: f64) {
    println!("{what:<NAME$} {us:>9.3} us");
}

/// Width of a name.
const NAME: usize = 58;

/// The measurements of one process of its own: each name with what is measured.
fn measured(driver: &str) -> Vec<(String, String)> {
    let process = std::process::Command::new(std::env::current_exe().unwrap()).arg(driver).output().unwrap();
    assert!(process.status.success(), "{driver}: {}", String::from_utf8_lossy(&process.stderr));
    let text = String::from_utf8(process.stdout).unwrap();
    let split =
        |line: &str| line.split_at_checked(NAME).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    // The first two lines describe the machine.
    text.lines().skip(2).filter_map(split).collect()
}

/// Measures driver after driver and shows a column for each.
fn side_by_side(drivers: &[String]) {
    let columns: Vec<_> = drivers.iter().map(|driver| measured(driver)).collect();
    let row = |name: &str, cells: Vec<&str>| {
        println!("{name:<NAME$} {}", cells.iter().map(|cell| format!("{cell:>13}")).collect::<String>());
    };
    row("", drivers.iter().map(String::as_str).collect());
    for (index, (name, _)) in columns[0].iter().enumerate() {
        let cell = |column: &Vec<(String, String)>| column.get(index).map_or(String::new(), |(_, value)| value.clone());
        let cells: Vec<String> = columns.iter().map(cell).collect();
        row(name, cells.iter().map(|cell| cell.split(',').next().unwrap_or_default()).collect());
    }
}

/// CPU time of this process so far.
fn cpu_us() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 * 1e6 + t.tv_usec() as f64).sum()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends back what comes, until the peer closes.
async fn echo(socket: Socket) {
    while let Ok(chunk) = socket.recv().await {
        if chunk.is_empty() || socket.send(vec![Bytes::copy_from_slice(&chunk)]).await.is_err() {
            return;
        }
    }
}

async fn listen_and_echo(rt: Rt, ready: kringle_runtime::Sender<std::net::SocketAddr>) {
    let listener = rt.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    ready.send(listener.local_addr()).await.unwrap();
    while let Ok((socket, _)) = listener.accept().await {
        rt.spawn(echo(socket));
    }
}

/// A connected pair of blocking sockets: the yardstick.
fn plain_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// `count` round trips of `len` bytes.
async fn round_trips(socket: &Socket, count: u32, len: usize) {
    let message = Bytes::from(vec![7; len]);
    for _ in 0..count {
        socket.send(vec![message.clone()]).await.unwrap();
        let mut missing = len;
        while missing > 0 {
            missing -= socket.recv().await.unwrap().len();
        }
    }
}

async fn tasks_and_timers(rt: &Rt) {
    let us = per_operation(rt, 100_000, async || {
        for _ in 0..100_000 {
            rt.yield_now().await;
        }
    });
    line("yield, and be polled again", us.await);
    let us = per_operation(rt, 10_000, async || {
        for _ in 0..10_000 {
            let (reply, answer) = oneshot();
            rt.spawn(async move { reply.send(1) });
            answer.await.unwrap();
        }
    });
    line("spawn a task and await its answer", us.await);
    let us = per_operation(rt, 200, async || {
        for _ in 0..200 {
            rt.sleep(Duration::from_micros(100)).await;
        }
    });
    line("sleep 100 us", us.await);
}

async fn between_shards(rt: &Rt, host: &Host) {
    let (ask, mut questions) = channel::<Reply<u64>>(64);
    let answer_all = move |_: Rt| -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(reply) = questions.recv().await {
                reply.send(1);
            }
        })
    };
    let other = host.start("other", 1, None, answer_all).unwrap();
    let us = per_operation(rt, 2000, async || {
        for _ in 0..2000 {
            let (reply, answer) = oneshot();
            ask.send(reply).await.unwrap();
            answer.await.unwrap();
        }
    });
    line("question and answer between parked shards", us.await);
    let us = per_operation(rt, 64_000, async || {
        for _ in 0..1000 {
            let mut answers = Vec::new();
            for _ in 0..64 {
                let (reply, answer) = oneshot();
                ask.send(reply).await.unwrap();
                answers.push(answer);
            }
            for answer in answers {
                answer.await.unwrap();
            }
        }
    });
    line("the same, 64 at a time, each", us.await);
    drop(ask);
    other.join().unwrap();
}

async fn sockets(rt: &Rt, host: &Host) {
    let (ready, mut addr) = channel(1);
    let (local_ready, mut local_addr) = channel(1);
    let _other = host.start("echo", 1, None, move |rt| Box::pin(listen_and_echo(rt, ready))).unwrap();
    rt.spawn(listen_and_echo(rt.clone(), local_ready));
    let (addr, local_addr) = (addr.recv().await.unwrap(), local_addr.recv().await.unwrap());

    let socket = rt.connect(local_addr).await.unwrap();
    let us = per_operation(rt, 5000, async || round_trips(&socket, 5000, 100).await);
    line("round trip of 100 bytes, both ends on one shard", us.await);
    let (mut client, mut server) = plain_pair();
    let mut bytes = [0; 100];
    let us = per_operation(rt, 5000, async || {
        for _ in 0..5000 {
            client.write_all(&bytes).unwrap();
            server.read_exact(&mut bytes).unwrap();
            server.write_all(&bytes).unwrap();
            client.read_exact(&mut bytes).unwrap();
        }
    });
    line("   the same by 4 plain system calls", us.await);
    let socket = rt.connect(addr).await.unwrap();
    let us = per_operation(rt, 5000, async || round_trips(&socket, 5000, 100).await);
    line("round trip of 100 bytes, between parked shards", us.await);
    std::thread::spawn(move || {
        let mut bytes = [0; 100];
        while server.read_exact(&mut bytes).is_ok() {
            server.write_all(&bytes).unwrap();
        }
    });
    let us = per_operation(rt, 5000, async || {
        for _ in 0..5000 {
            client.write_all(&bytes).unwrap();
            client.read_exact(&mut bytes).unwrap();
        }
    });
    line("   the same by blocking threads", us.await);
    let us = per_operation(rt, 200, async || round_trips(&socket, 200, 1 << 20).await);
    line("round trip of 1 MiB, between shards", us.await);

    let (before, cpu_before) = (rt.stats(), cpu_us());
    let us = per_operation(rt, 64_000, async || {
        let mut answers = Vec::new();
        for _ in 0..64 {
            let socket = rt.connect(addr).await.unwrap();
            let (reply, answer) = oneshot();
            rt.spawn(async move {
                round_trips(&socket, 1000, 100).await;
                reply.send(());
            });
            answers.push(answer);
        }
        for answer in answers {
            answer.await.unwrap();
        }
    });
    line("round trip of 100 bytes, 64 connections, each", us.await);
    let after = rt.stats();
    let trips = (64_000 * ROUNDS) as f64;
    line("   CPU time of both ends, each", (cpu_us() - cpu_before) / trips);
    let (enters, turns) = ((after.enters - before.enters) as f64, (after.turns - before.turns) as f64);
    println!(
        "{:<58} {:>9.3}, turns {:.3}",
        "   io_uring_enter or epoll calls per round trip",
        enters / trips,
        turns / trips
    );

    let resident = resident_kib();
    let mut idle = Vec::new();
    for _ in 0..5000 {
        idle.push(rt.connect(addr).await.unwrap());
    }
    rt.sleep(Duration::from_millis(200)).await;
    let grown = (resident_kib() - resident) as f64;
    println!("{:<NAME$} {:>9.3} KiB", "an idle connection, both ends with a task each", grown / 5000.0);
}

async fn files(rt: &Rt, dir: &std::path::Path) {
    let file = rt.fs().open(dir.join("measure.tmp"), Open::Create).unwrap();
    let page = Bytes::from(vec![7; 4096]);
    for kib in [4u32, 16, 64, 128, 256, 512] {
        let (count, bytes) = (8192 / kib, Bytes::from(vec![7; kib as usize * 1024]));
        let us = per_operation(rt, count, async || {
            file.set_len(0).unwrap();
            for n in 0..count {
                rt.write_at(&file, vec![bytes.clone()], u64::from(n) * bytes.len() as u64).await.unwrap();
            }
        });
        line(&format!("buffered append of {kib} KiB, by the driver"), us.await);
        let us = per_operation(rt, count, async || {
            file.set_len(0).unwrap();
            for n in 0..count {
                file.write_all_at(&mut [std::io::IoSlice::new(&bytes)], u64::from(n) * bytes.len() as u64).unwrap();
            }
        });
        line(&format!("buffered append of {kib} KiB, inline"), us.await);
    }
    let mut buf = Some(rt.frame_buf(64 << 10));
    let us = per_operation(rt, 2000, async || {
        for n in 0..2000 {
            let mut empty = buf.take().unwrap();
            empty.clear();
            let (read, back) = rt.read_at(&file, n * 4096 % (1 << 20), empty).await;
            read.unwrap();
            buf = Some(back);
        }
    });
    line("cached read of 64 KiB, by the driver", us.await);
    let us = per_operation(rt, 2000, async || {
        for _ in 0..2000 {
            assert_eq!(file.cached_prefix(0, 1 << 20), 1 << 20);
        }
    });
    line("cachestat of 1 MiB", us.await);
    let us = per_operation(rt, 20, async || {
        for n in 0..20 {
            rt.write_at(&file, vec![page.clone()], n * 4096).await.unwrap();
            rt.datasync(&file).await.unwrap();
        }
    });
    line("append of 4 KiB and fdatasync", us.await);
    let us = per_operation(rt, 2000, async || {
        for _ in 0..2000 {
            rt.blocking(|_| ()).await;
        }
    });
    line("blocking work on a helper thread", us.await);
    odd_appends(rt, &file).await;
    rt.fs().remove_file(dir.join("measure.tmp")).unwrap();
    commits(rt, dir).await;
}

/// What appends of odd sizes cost as they are, and with zeros up to the end of the block that they reach into.
async fn odd_appends(rt: &Rt, file: &File) {
    const BLOCK: u64 = 64 << 10;
    let zeros = vec![0; 64 << 10];
    for bytes in [3_420u32, 16_461, 65_844] {
        let (batch, count) = (vec![7; bytes as usize], (64 << 20) / bytes);
        for filled in [false, true] {
            let us = per_operation(rt, count, async || {
                file.set_len(0).unwrap();
                let mut written = 0;
                for n in 0..count {
                    let end = u64::from(n + 1) * u64::from(bytes);
                    let mut fill = 0;
                    if filled && end > written {
                        written = end.next_multiple_of(BLOCK);
                        fill = usize::try_from(written - end).unwrap();
                    }
                    let mut slices = [std::io::IoSlice::new(&batch), std::io::IoSlice::new(&zeros[..fill])];
                    file.write_all_at(&mut slices, end - u64::from(bytes)).unwrap();
                }
            });
            let how = if filled { ", filled up to 64 KiB" } else { "" };
            line(&format!("buffered append of {bytes} B, inline{how}"), us.await);
        }
    }
}

/// What it costs to make an append to each of some files durable.
async fn commits(rt: &Rt, dir: &std::path::Path) {
    let name = |n: u64| dir.join(format!("measure-{n}.tmp"));
    let page = vec![7; 4096];
    for count in [1, 4, 16, 64] {
        let files: Vec<File> = (0..count).map(|n| rt.fs().open(name(n), Open::Create).unwrap()).collect();
        let at = Cell::new(0);
        let dirty = || {
            at.set(at.get() + 4096);
            files.iter().for_each(|file| file.write_all_at(&mut [std::io::IoSlice::new(&page)], at.get()).unwrap());
        };
        let us = per_operation(rt, 10, async || {
            for _ in 0..10 {
                dirty();
                let done: Vec<_> = files
                    .iter()
                    .map(|file| {
                        let (rt2, file, (reply, answer)) = (rt.clone(), file.clone(), oneshot());
                        rt.spawn(async move { reply.send(rt2.datasync(&file).await) });
                        answer
                    })
                    .collect();
                for one in done {
                    one.await.unwrap().unwrap();
                }
            }
        });
        line(&format!("{count} dirty files, fdatasync of each side by side"), us.await);
        let us = per_operation(rt, 10, async || {
            for _ in 0..10 {
                dirty();
                let dir = dir.to_owned();
                rt.blocking(move |fs| fs.sync_fs(&dir)).await.unwrap();
            }
        });
        line(&format!("{count} dirty files, one syncfs"), us.await);
        (0..count).for_each(|n| rt.fs().remove_file(name(n)).unwrap());
    }
}

fn main() {
    let drivers: Vec<String> = std::env::args().skip(1).collect();
    if drivers.len() > 1 {
        return side_by_side(&drivers);
    }
    let driver = match drivers.first().map(String::as_str) {
        None => IoDriver::Auto,
        Some("ring") => IoDriver::Ring,
        Some("syscall") => IoDriver::Syscall,
        Some(other) => panic!("{other}: neither ring nor syscall"),
    };
    let host = Host::real(RealOptions { driver, ..RealOptions::default() }).unwrap();
    println!("on {}", host.describe());
    let dir = std::env::temp_dir();
    println!("files in {} ({})", dir.display(), host.fs().kind(&dir));
    let inner = host.clone();
    let before = resident_kib();
    let main = move |rt: Rt| -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            println!("{:<NAME$} {:>9} KiB", "a shard at rest", resident_kib() - before);
            tasks_and_timers(&rt).await;
            between_shards(&rt, &inner).await;
            sockets(&rt, &inner).await;
            files(&rt, &dir).await;
        })
    };
    host.start("measure", 0, None, main).unwrap().join().unwrap();
    // The echo shard never ends by itself.
    std::process::exit(0);
}
