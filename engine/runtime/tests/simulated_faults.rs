//! The simulator's faults do what they say: disks that fail or fill up, networks that break or are cut.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kringle_runtime::sim::{Sim, SimNode};
use kringle_runtime::{File, Open};

const MINUTE: Duration = Duration::from_secs(60);

fn write(file: &File, bytes: &[u8], pos: u64) -> std::io::Result<()> {
    file.write_all_at(&mut [IoSlice::new(bytes)], pos)
}

fn file_on(node: &SimNode) -> File {
    node.host().fs().open("/log", Open::Create).unwrap()
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_when_there_is_room() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    sim.disk_faults(&node, |faults| faults.capacity_bytes = 10_000);
    let (fs, file) = (node.host().fs(), file_on(&node));
    write(&file, &[1; 8000], 0).unwrap();
    assert_eq!(write(&file, &[2; 8000], 8000).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), fs.space("/").unwrap()), (10_000, (10_000, 0)));
    write(&file, &[3; 10_000], 0).unwrap();
    assert_eq!(file.allocate_keep_size(10_000, 1).unwrap_err().kind(), ErrorKind::StorageFull);
    file.set_len(8000).unwrap();
    write(&file, &[4; 2000], 8000).unwrap();
    drop(file);
    fs.remove_file("/log").unwrap();
    fs.sync_dir("/").unwrap();
    assert_eq!(fs.space("/").unwrap().1, 10_000);
}

#[test]
fn the_n_th_write_fails_changes_nothing_and_the_next_succeeds() {
    let mut sim = Sim::new(1);
    let node = sim.node("a");
    sim.disk_faults(&node, |faults| faults.writes_until_failure = Some(2));
    let file = file_on(&node);
    for n in 0..5u64 {
        assert_eq!(write(&file, &[1; 10], n * 10).is_err(), n == 2);
    }
    let mut bytes = [0; 50];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[20..30], [0; 10]);
    sim.disk_faults(&node, |faults| faults.fail_read_once_in = 1);
    assert!(file.read_at(&mut bytes, 0).is_err());
}

#[test]
fn after_a_failed_sync_the_page_cache_shows_what_the_disk_has_lost() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let node = sim.node("a");
        sim.disk_faults(&node, |faults| faults.syncs_until_failure = Some(2));
        let file = file_on(&node);
        node.host().fs().sync_dir("/").unwrap();
        write(&file, &[1; 100], 0).unwrap();
        file.sync_data().unwrap();
        write(&file, &[2; 100], 100).unwrap();
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the next sync finds nothing to do");
        let mut seen = [0; 200];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen[100..], [2; 100]);
        let direct = file.read_direct(0, 200).unwrap();
        assert_eq!(direct[..100], [1; 100]);
        lost += u32::from(direct.len() == 100);
        sim.crash(&node);
        assert_eq!(sim.restart(&node).fs().read("/log").unwrap(), direct, "seed {seed}");
    }
    assert!(lost > 0 && lost < 20);
}

/// A server on `a` that counts what it receives, and a client on `b` that sends a byte every 10 ms and logs what goes wrong.
struct Talk {
    sim: Sim,
    a: SimNode,
    b: SimNode,
    received: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<ErrorKind>>>,
}

fn talk(seed: u64) -> Talk {
    let mut sim = Sim::new(seed);
    let (a, b) = (sim.node("a"), sim.node("b"));
    let to = SocketAddr::new(a.ip(), 9092);
    let (received, errors) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, log) = (Arc::clone(&received), Arc::clone(&errors));
    a.host()
        .start("server", 0, None, move |rt| {
            Box::pin(async move {
                let listener = rt.listen(to).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let count = Arc::clone(&count);
                    rt.spawn(async move {
                        while let Ok(chunk) = socket.recv().await {
                            if chunk.is_empty() {
                                break;
                            }
                            count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        }
                    });
                }
            })
        })
        .unwrap();
    b.host()
        .start("client", 0, None, move |rt| {
            Box::pin(async move {
                rt.sleep(Duration::from_millis(1)).await;
                loop {
                    let failed = match rt.connect(to).await {
                        Err(e) => e,
                        Ok(socket) => loop {
                            rt.sleep(Duration::from_millis(10)).await;
                            if let Err(e) = socket.send(vec![Bytes::from_static(b"x")]).await {
                                break e;
                            }
                        },
                    };
                    log.lock().unwrap().push(failed.kind());
                    rt.sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .unwrap();
    Talk { sim, a, b, received, errors }
}

impl Talk {
    fn run_until_received(&mut self, bytes: u64) -> bool {
        self.sim.run_until(MINUTE, || self.received.load(Ordering::Relaxed) >= bytes)
    }

    fn errors(&self) -> Vec<ErrorKind> {
        std::mem::take(&mut self.errors.lock().unwrap())
    }
}

#[test]
fn a_partition_holds_bytes_back_until_it_heals() {
    let mut talk = talk(5);
    assert!(talk.run_until_received(10));
    talk.sim.partition(&talk.a, &talk.b);
    let before = talk.received.load(Ordering::Relaxed);
    assert!(!talk.run_until_received(before + 2));
    assert_eq!(talk.errors(), []);
    talk.sim.heal(&talk.a, &talk.b);
    let held_back = 3000;
    assert!(talk.sim.run_until(Duration::from_secs(1), || talk.received.load(Ordering::Relaxed) > before + held_back));
}

#[test]
fn a_peer_that_dies_behind_a_partition_is_noticed_when_it_heals() {
    let mut talk = talk(6);
    assert!(talk.run_until_received(10));
    talk.sim.partition(&talk.a, &talk.b);
    talk.sim.crash(&talk.a);
    assert!(!talk.sim.run_until(MINUTE, || false));
    assert_eq!(talk.errors(), []);
    talk.sim.heal(&talk.a, &talk.b);
    assert!(!talk.sim.run_until(Duration::from_secs(1), || false));
    let errors = talk.errors();
    assert_eq!((errors[0], errors[1]), (ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused));
}

#[test]
fn connecting_through_a_partition_times_out() {
    let mut talk = talk(7);
    talk.sim.partition(&talk.a, &talk.b);
    assert!(!talk.sim.run_until(MINUTE * 3, || false));
    assert_eq!(talk.errors(), [ErrorKind::TimedOut]);
    assert_eq!(talk.received.load(Ordering::Relaxed), 0);
}

#[test]
fn connections_break_now_and_then_where_it_is_asked_for() {
    let mut talk = talk(8);
    talk.sim.faults(|faults| faults.reset_once_in = 20);
    assert!(talk.run_until_received(500));
    let errors = talk.errors();
    assert!(errors.len() > 5 && errors.iter().all(|e| *e == ErrorKind::ConnectionReset), "{errors:?}");
}
