//! A driver far too small for what is asked of it, and connections that come and go in any order.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests too; it counts its descriptors"
)]

mod common;

use std::cell::Cell;
use std::io::IoSlice;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use common::{any_port, real_drivers};
use kringle_runtime::{Host, Open, RealOptions, Rt, Socket};

/// Runs `body` on a ring with 8 entries (and 32 completions) and 4 receive buffers, and on plain system calls with as many
/// buffers and 2 threads.
fn on_each_tiny_driver<F: Future<Output = ()> + 'static>(body: impl Fn(Rt) -> F + Clone + Send + 'static) {
    for driver in real_drivers() {
        let small =
            RealOptions { driver, ring_entries: 8, receive_buffers: 4, blocking_workers: 2, ..Default::default() };
        let body = body.clone();
        let running = Host::real(small).unwrap().start("tiny", 0, None, move |rt| Box::pin(body(rt))).unwrap();
        running.join().unwrap_or_else(|panicked| panic!("on the driver {driver:?}: {panicked}"));
    }
}

/// Waits until `tasks` tasks have counted themselves.
async fn all_done(rt: &Rt, done: &Cell<u32>, tasks: u32) {
    while done.get() < tasks {
        rt.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn more_operations_than_entries_and_completions_all_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    on_each_tiny_driver(move |rt| read_a_thousand_times(rt, path.clone()));
}

async fn read_a_thousand_times(rt: Rt, path: PathBuf) {
    let file = rt.fs().open(path, Open::Create).unwrap();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| u8::try_from(n % 241).unwrap()).collect();
    file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
    let (bytes, done) = (Rc::new(bytes), Rc::new(Cell::new(0)));
    for n in 0..1000usize {
        let (rt2, file, bytes, done) = (rt.clone(), file.clone(), Rc::clone(&bytes), Rc::clone(&done));
        rt.spawn(async move {
            let (read, buf) = rt2.read_at(&file, n as u64 * 1000, rt2.frame_buf(1000)).await;
            assert_eq!(read.unwrap(), 1000);
            assert!(buf[..] == bytes[n * 1000..(n + 1) * 1000]);
            done.set(done.get() + 1);
        });
    }
    all_done(&rt, &done, 1000).await;
    assert_eq!(rt.stats().in_flight, 0);
}

/// Sends, receives, gives up and goes, as its numbers say.
async fn come_and_go(rt: Rt, socket: Socket) {
    for _ in 0..rt.random_u64() % 20 {
        let len = usize::try_from(rt.random_u64() % 50_000).unwrap();
        let patience = Duration::from_micros(rt.random_u64() % 300);
        let alive = match rt.random_u64() % 4 {
            0 => socket.send(vec![Bytes::from(vec![1; len])]).await.is_ok(),
            1 => rt.timeout(patience, socket.recv()).await.is_none_or(|chunk| chunk.is_ok_and(|c| !c.is_empty())),
            2 => {
                let received = rt.timeout(patience, socket.recv_into(rt.frame_buf(len + 1))).await;
                received.is_none_or(|(n, buf)| n.is_ok_and(|n| n > 0 && n == buf.len()))
            }
            _ => rt.timeout(patience, socket.writable()).await.is_none_or(|polled| polled.is_ok()),
        };
        if !alive {
            return;
        }
    }
}

#[test]
fn connections_that_come_and_go_leave_no_operation_no_buffer_and_no_descriptor_behind() {
    on_each_tiny_driver(async |rt| {
        let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let listener = rt.listen(any_port()).unwrap();
        let (done, mut rounds) = (Rc::new(Cell::new(0)), 0);
        let mut before = 0;
        while rounds < 400 {
            let client = rt.connect(listener.local_addr()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            for socket in [client, server] {
                let (rt2, done) = (rt.clone(), Rc::clone(&done));
                rt.spawn(async move {
                    come_and_go(rt2, socket).await;
                    done.set(done.get() + 1);
                });
            }
            rounds += 1;
            if rounds % 50 == 0 {
                all_done(&rt, &done, rounds * 2).await;
                while rt.stats().in_flight > 0 {
                    rt.sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(rt.stats().receive_buffers_in_use, 0);
                if before == 0 {
                    before = open_files();
                }
                // Other tests of this process open files too.
                assert!(open_files() < before + 50, "{} descriptors, first {before}", open_files());
            }
        }
    });
}

#[test]
fn wake_ups_from_many_threads_are_never_lost() {
    on_each_tiny_driver(async |rt| {
        let (sender, mut receiver) = kringle_runtime::channel::<u64>(16);
        let (go, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let (sender, wait) = (sender.clone(), std::sync::Arc::clone(&wait));
                std::thread::spawn(move || {
                    for n in 0..2000 {
                        while sender.try_send(thread << 32 | n).is_err() {
                            std::thread::yield_now();
                        }
                        if n % 500 == 0 {
                            wait.lock().unwrap().recv().unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        while let Some(message) = receiver.recv().await {
            let (thread, n) = (usize::try_from(message >> 32).unwrap(), message & 0xffff_ffff);
            assert_eq!(n, next[thread]);
            next[thread] += 1;
            if n % 500 == 0 {
                // Parks between the bursts.
                rt.sleep(Duration::from_millis(1)).await;
                go.send(()).unwrap();
            }
        }
        assert_eq!(next, [2000; 4]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
