//! The simulator keeps its promises: one seed one run, power cuts lose what was not synced and nothing else.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kringle_runtime::sim::{Sim, SimNode};
use kringle_runtime::{File, Fs, Open, Rt};

const MINUTE: Duration = Duration::from_secs(60);

/// Runs `body` as the only thread of a machine until it ends.
fn run<F: Future<Output = ()> + 'static>(sim: &mut Sim, node: &SimNode, body: impl FnOnce(Rt) -> F + Send + 'static) {
    let ended = Arc::new(AtomicU64::new(0));
    let flag = Arc::clone(&ended);
    let main = move |rt: Rt| -> kringle_runtime::LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            body(rt).await;
            flag.store(1, Ordering::Relaxed);
        })
    };
    node.host().start("main", 0, None, main).unwrap();
    assert!(sim.run_until(MINUTE, || ended.load(Ordering::Relaxed) == 1));
}

/// Two machines that talk, sleep, write and draw random numbers.
fn busy_world(seed: u64) -> (u64, u64) {
    let mut sim = Sim::new(seed);
    let (a, b) = (sim.node("a"), sim.node("b"));
    let to = std::net::SocketAddr::new(a.ip(), 9092);
    let received = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&received);
    a.host()
        .start("server", 0, None, move |rt| {
            Box::pin(async move {
                let listener = rt.listen(to).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (total, rt2) = (Arc::clone(&total), rt.clone());
                    rt.spawn(async move {
                        let file = rt2.fs().open("/log", Open::Create).unwrap();
                        while let Ok(chunk) = socket.recv().await {
                            if chunk.is_empty() {
                                break;
                            }
                            rt2.write_at(&file, vec![Bytes::copy_from_slice(&chunk)], 0).await.unwrap();
                            rt2.datasync(&file).await.unwrap();
                            total.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        }
                    });
                }
            })
        })
        .unwrap();
    for index in 0..3 {
        b.host()
            .start("client", index, None, move |rt| {
                Box::pin(async move {
                    rt.sleep(Duration::from_millis(1)).await;
                    let socket = rt.connect(to).await.unwrap();
                    for _ in 0..20 {
                        socket.send(vec![Bytes::copy_from_slice(&rt.random_bytes::<500>())]).await.unwrap();
                        rt.sleep(Duration::from_micros(rt.random_u64() % 1000)).await;
                    }
                })
            })
            .unwrap();
    }
    assert!(sim.run_until(MINUTE, || received.load(Ordering::Relaxed) == 30_000), "seed {seed}");
    (sim.trace_hash(), sim.now().as_nanos())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    for seed in 0..10 {
        assert_eq!(busy_world(seed), busy_world(seed));
        assert_ne!(busy_world(seed).0, busy_world(seed + 1).0);
    }
}

fn write(file: &File, bytes: &[u8], pos: u64) {
    file.write_all_at(&mut [IoSlice::new(bytes)], pos).unwrap();
}

/// A durable file of 1 KiB with `synced` and, behind it, 4 writes of 8 KiB that are not.
async fn half_synced(rt: Rt) {
    let fs = rt.fs();
    fs.create_dir_all("/d").unwrap();
    let file = fs.open("/d/log", Open::CreateNew).unwrap();
    write(&file, &[1; 1024], 0);
    rt.datasync(&file).await.unwrap();
    fs.sync_dir("/d").unwrap();
    for n in 0..4u8 {
        write(&file, &[2 + n; 8192], 1024 + u64::from(n) * 8192);
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        run(&mut sim, &node, half_synced);
        sim.crash(&node);
        let bytes = sim.restart(&node).fs().read("/d/log").unwrap();
        assert_eq!(bytes[..1024], [1; 1024], "seed {seed}");
        let survived = bytes[1024..].chunks(8192).map(|chunk| chunk.iter().filter(|byte| **byte > 1).count());
        outcomes.insert(survived.collect::<Vec<_>>());
    }
    let whole = |n: &usize| *n == 8192;
    assert!(outcomes.contains(&vec![]), "nothing survives");
    assert!(outcomes.contains(&vec![8192; 4]), "all survives");
    assert!(
        outcomes.iter().any(|o| o.iter().rev().any(whole) && !o.iter().all(whole)),
        "a later write without an earlier"
    );
    assert!(outcomes.iter().flatten().any(|n| *n > 0 && *n < 8192), "a torn write");
}

#[test]
fn a_name_survives_a_power_cut_only_after_its_directory_was_synced() {
    let mut lost = 0;
    for seed in 0..30 {
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        run(&mut sim, &node, async |rt| {
            let fs = rt.fs();
            fs.write_atomic("/checkpoint", b"old").unwrap();
            fs.open("/unsynced", Open::CreateNew).unwrap().sync_all().unwrap();
            let next = fs.open("/checkpoint.tmp", Open::CreateNew).unwrap();
            write(&next, b"new", 0);
            next.sync_all().unwrap();
            fs.rename("/checkpoint.tmp", "/checkpoint").unwrap();
        });
        sim.crash(&node);
        let fs = sim.restart(&node).fs();
        lost += u32::from(!fs.exists("/unsynced"));
        let content = fs.read_to_string("/checkpoint").unwrap();
        assert!(content == "old" || (content == "new" && fs.exists("/unsynced")), "names become durable in order");
    }
    assert!(lost > 0);
}

#[test]
fn a_killed_process_loses_nothing_that_was_written_and_lets_go_of_its_lock() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    node.host()
        .start("main", 0, None, |rt| {
            Box::pin(async move {
                let _lock = rt.fs().lock("/.lock").unwrap();
                half_synced(rt.clone()).await;
                std::future::pending().await
            })
        })
        .unwrap();
    assert!(!sim.run_until(MINUTE, || false));
    assert_eq!(node.host().fs().lock("/.lock").err().map(|e| e.kind()), Some(ErrorKind::WouldBlock));
    sim.kill(&node);
    let fs: Fs = sim.restart(&node).fs();
    assert_eq!(fs.len("/d/log").unwrap(), 1024 + 4 * 8192);
    assert!(fs.lock("/.lock").is_ok());
}

#[test]
fn a_restarted_machine_has_a_cold_cache_until_it_reads() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    run(&mut sim, &node, half_synced);
    sim.crash(&node);
    let file = sim.restart(&node).fs().open("/d/log", Open::Read).unwrap();
    assert_eq!(file.cached_prefix(0, 1024), 0);
    assert_eq!(file.read_exact_cached_at(&mut [0; 8], 0).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
    file.read_exact_at(&mut [0; 1024], 0).unwrap();
    assert_eq!(file.cached_prefix(0, 1024), 1024);
    file.read_exact_cached_at(&mut [0; 8], 0).unwrap();
}

#[test]
fn peers_of_a_crashed_machine_see_a_reset_and_reach_its_next_life() {
    let mut sim = Sim::new(3);
    let (a, b) = (sim.node("a"), sim.node("b"));
    let to = std::net::SocketAddr::new(a.ip(), 9092);
    let serve = move |rt: Rt| -> kringle_runtime::LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let listener = rt.listen(to).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            socket.send(vec![Bytes::from_static(b"hi")]).await.unwrap();
            std::future::pending().await
        })
    };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    a.host().start("server", 0, None, serve).unwrap();
    b.host()
        .start("client", 0, None, move |rt| {
            Box::pin(async move {
                loop {
                    let outcome = match rt.connect(to).await {
                        Err(e) => format!("connect: {:?}", e.kind()),
                        Ok(socket) => {
                            // `hi` may come in two pieces.
                            let mut greeted = 0;
                            loop {
                                match socket.recv().await {
                                    Ok(chunk) => greeted += chunk.len(),
                                    Err(e) => break format!("{greeted}, then {:?}", e.kind()),
                                }
                                log.lock().unwrap().push(format!("greeted {greeted}"));
                            }
                        }
                    };
                    log.lock().unwrap().push(outcome);
                    rt.sleep(Duration::from_secs(1)).await;
                }
            })
        })
        .unwrap();
    let has = |line: &str| seen.lock().unwrap().iter().any(|seen| seen == line);
    assert!(sim.run_until(MINUTE, || has("greeted 2")));
    sim.crash(&a);
    assert!(sim.run_until(MINUTE, || has("2, then ConnectionReset")));
    assert!(sim.run_until(MINUTE, || has("connect: ConnectionRefused")));
    sim.restart(&a).start("server", 0, None, serve).unwrap();
    seen.lock().unwrap().clear();
    assert!(sim.run_until(MINUTE, || has("greeted 2")));
}

#[test]
fn an_hour_passes_at_once_and_a_world_at_rest_is_noticed() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    run(&mut sim, &node, async |rt| rt.sleep(MINUTE / 2).await);
    assert!(sim.now().as_millis() >= 30_000);
    let before = sim.now();
    assert!(!sim.run_until(MINUTE, || false));
    assert_eq!(sim.now() - before, MINUTE);
}

#[test]
fn a_task_that_never_waits_does_not_stop_the_clock() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    run(&mut sim, &node, async |rt| {
        let deadline = rt.now() + Duration::from_millis(1);
        while rt.now() < deadline {
            rt.yield_now().await;
        }
    });
}

#[test]
fn what_an_earlier_life_starts_does_not_run() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    let stale = node.host();
    sim.kill(&node);
    let ran = Arc::new(AtomicU64::new(0));
    let flag = Arc::clone(&ran);
    stale.start("ghost", 0, None, move |_| Box::pin(async move { flag.store(1, Ordering::Relaxed) })).unwrap();
    assert!(!sim.run_until(MINUTE, || ran.load(Ordering::Relaxed) == 1));
}
