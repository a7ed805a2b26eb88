//! Tasks, timers, channels and helper threads.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]
#![allow(clippy::disallowed_methods, reason = "the runtime is tested against the real clock")]

mod common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{World, any_port, on_each_driver, on_each_real_driver, real_drivers, real_host};
use kringle_runtime::{Host, IoDriver, Notify, RealOptions, Rt, TrySendError, channel, oneshot};

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    on_each_driver(async |World { rt, .. }| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        for ms in [7u64, 1, 5, 3] {
            let (rt2, order) = (rt.clone(), Rc::clone(&order));
            tasks.push(rt.spawn(async move {
                let start = rt2.now();
                rt2.sleep(Duration::from_millis(ms)).await;
                assert!(rt2.now() - start >= Duration::from_millis(ms));
                order.borrow_mut().push(ms);
            }));
        }
        while !tasks.iter().all(|task| task.is_finished()) {
            rt.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*order.borrow(), [1, 3, 5, 7]);
    });
}

#[test]
fn a_timeout_drops_what_takes_too_long_and_keeps_what_does_not() {
    on_each_driver(async |World { rt, .. }| {
        let dropped = Rc::new(Cell::new(false));
        struct Flag(Rc<Cell<bool>>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let flag = Flag(Rc::clone(&dropped));
        let slow = async move {
            let _flag = flag;
            std::future::pending::<()>().await;
        };
        assert_eq!(rt.timeout(Duration::from_millis(1), slow).await, None);
        assert!(dropped.get());
        assert_eq!(rt.timeout(Duration::from_secs(60), async { 5 }).await, Some(5));
    });
}

#[test]
fn a_cancelled_task_is_dropped_even_if_it_cancels_itself() {
    on_each_driver(async |World { rt, .. }| {
        let sleeper = rt.spawn(std::future::pending());
        rt.yield_now().await;
        assert!(!sleeper.is_finished());
        sleeper.cancel();
        assert!(sleeper.is_finished());

        let own = Rc::new(RefCell::new(None));
        let (handle, steps) = (Rc::clone(&own), Rc::new(Cell::new(0)));
        let (counted, rt2) = (Rc::clone(&steps), rt.clone());
        *own.borrow_mut() = Some(rt.spawn(async move {
            counted.set(1);
            handle.borrow().as_ref().map(kringle_runtime::TaskHandle::cancel).unwrap();
            rt2.yield_now().await;
            counted.set(2);
        }));
        while rt.stats().tasks > 1 {
            rt.yield_now().await;
        }
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn messages_between_shards_arrive_in_order_and_the_queue_holds_back_the_sender() {
    on_each_driver(async |World { rt, host, .. }| {
        let (to, mut from) = channel::<u64>(4);
        let (back, mut answers) = channel::<u64>(4);
        let other = host.start("other", 1, None, move |_| {
            Box::pin(async move {
                while let Some(n) = from.recv().await {
                    back.send(n * 2).await.unwrap();
                }
            })
        });
        rt.spawn(async move {
            for n in 0..20_000 {
                to.send(n).await.unwrap();
            }
        });
        for n in 0..20_000 {
            assert_eq!(answers.recv().await, Some(n * 2));
        }
        assert_eq!(answers.recv().await, None);
        rt.blocking(|_| other.unwrap().join().unwrap()).await;
    });
}

#[test]
fn a_full_queue_and_a_gone_receiver_give_the_message_back() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.try_recv(), Some(1));
    drop(receiver);
    assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
}

#[test]
fn a_queued_question_is_answered_with_nothing_when_its_receiver_goes() {
    on_each_driver(async |_| {
        let (sender, receiver) = channel(4);
        let (reply, answer) = oneshot::<u32>();
        sender.try_send(reply).unwrap();
        drop(receiver);
        assert_eq!(answer.await, None);
    });
}

#[test]
fn a_parked_shard_is_woken_and_answers_across_threads() {
    real_drivers().into_iter().for_each(|driver| ping_pong(&real_host(driver)));
}

fn ping_pong(host: &Host) {
    let (to_a, mut questions) = channel::<kringle_runtime::Reply<u64>>(1);
    let a = host.start("a", 0, None, move |_| {
        Box::pin(async move {
            let mut n = 0;
            while let Some(reply) = questions.recv().await {
                n += 1;
                reply.send(n);
            }
        })
    });
    let b = host.start("b", 1, None, move |rt| {
        Box::pin(async move {
            for n in 1..=2000 {
                let (reply, answer) = oneshot();
                to_a.send(reply).await.unwrap();
                assert_eq!(answer.await, Some(n));
                if n % 100 == 0 {
                    rt.sleep(Duration::from_millis(1)).await;
                }
            }
            assert!(rt.stats().parks > 0);
        })
    });
    b.unwrap().join().unwrap();
    a.unwrap().join().unwrap();
}

#[test]
fn an_event_wakes_all_who_have_not_seen_it() {
    on_each_real_driver(async |World { rt, host, .. }| {
        let notify = Notify::new();
        let seen = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for index in 1..4 {
            let (notify, seen) = (notify.clone(), Arc::clone(&seen));
            threads.push(host.start("waiter", index, None, move |_| {
                Box::pin(async move {
                    for version in 0..50 {
                        notify.wait_after(version).await;
                        seen.fetch_add(1, Ordering::SeqCst);
                    }
                })
            }));
        }
        for round in 1..=50 {
            notify.notify_all();
            assert_eq!(notify.version(), round);
            while seen.load(Ordering::SeqCst) < round * 3 {
                rt.yield_now().await;
            }
        }
        for thread in threads {
            rt.blocking(|_| thread.unwrap().join().unwrap()).await;
        }
    });
}

#[test]
fn blocking_work_runs_elsewhere_while_the_shard_goes_on() {
    on_each_real_driver(async |World { rt, .. }| {
        let (release, wait) = std::sync::mpsc::channel::<u32>();
        let rt2 = rt.clone();
        rt.spawn(async move {
            rt2.yield_now().await;
            release.send(7).unwrap();
        });
        assert_eq!(rt.blocking(move |_| wait.recv().unwrap()).await, 7);
        let mut answers = Vec::new();
        for n in 0..100 {
            answers.push(rt.blocking(move |fs| (n, fs.wall_ms() > 0)));
        }
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await, (n, true));
        }
    });
}

#[test]
fn a_panicking_shard_is_reported_with_its_message() {
    for driver in real_drivers() {
        let running = real_host(driver).start("shard-3", 3, None, |_| Box::pin(async { panic!("out of cheese") }));
        let panicked = running.unwrap().join().unwrap_err();
        assert_eq!((panicked.thread.as_str(), panicked.message.as_str()), ("shard-3", "out of cheese"));
    }
}

#[test]
fn when_the_main_task_ends_the_others_are_dropped_with_their_operations() {
    struct Dropped(Arc<AtomicU64>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    on_each_real_driver(move |World { rt, .. }| leave_ten(rt, Arc::clone(&counter)));
    let drivers = u64::try_from(real_drivers().len()).unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 10 * drivers);

    async fn leave_ten(rt: Rt, count: Arc<AtomicU64>) {
        let listener = rt.listen(common::any_port()).unwrap();
        for _ in 0..10 {
            let client = rt.connect(listener.local_addr()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let dropped = Dropped(Arc::clone(&count));
            rt.spawn(async move {
                let _dropped = dropped;
                let _client = client;
                server.recv().await.unwrap();
            });
        }
        rt.yield_now().await;
    }
}

#[test]
fn waking_a_running_shard_costs_no_system_call() {
    on_each_real_driver(async |World { rt, .. }| {
        let before = rt.stats();
        let (sender, mut receiver) = channel(8);
        let rt2 = rt.clone();
        rt.spawn(async move {
            for n in 0..5000 {
                sender.send(n).await.unwrap();
                rt2.yield_now().await;
            }
        });
        while receiver.recv().await.is_some() {}
        let after = rt.stats();
        assert_eq!((after.wakes, after.parks), (before.wakes, before.parks));
        // No more than what ends each turn.
        assert!(after.enters - before.enters <= after.turns - before.turns, "{after:?}");
        assert!(after.turns - before.turns < 500, "{after:?}");
    });
}

#[test]
fn random_numbers_differ_between_shards() {
    on_each_real_driver(async |World { rt, host, .. }| {
        let (send, mut receive) = channel::<[u8; 16]>(1);
        let other = host
            .start("other", 1, None, move |rt| Box::pin(async move { send.send(rt.random_bytes()).await.unwrap() }));
        assert_ne!(receive.recv().await.unwrap(), rt.random_bytes());
        rt.blocking(|_| other.unwrap().join().unwrap()).await;
    });
}

/// A client on a thread of its own asks an echo on a shard again and again, each time it has the answer. Ends after `enough` questions, or
/// once the shard looks for work before it sleeps; says how often it had by then.
fn looks_under_pings(driver: IoDriver, busy_poll: Duration, enough: u32) -> u64 {
    let host = Host::real(RealOptions { driver, busy_poll, ..RealOptions::default() }).unwrap();
    let (say_where, hear_where) = std::sync::mpsc::channel();
    let looks = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&looks);
    let shard = host.start("echo", 0, None, move |rt| {
        Box::pin(async move {
            let listener = rt.listen(any_port()).unwrap();
            say_where.send(listener.local_addr()).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            loop {
                let question = socket.recv().await.unwrap();
                if question.is_empty() {
                    return;
                }
                told.store(rt.stats().looks, Ordering::Release);
                socket.send(vec![Bytes::copy_from_slice(&question)]).await.unwrap();
            }
        })
    });
    let mut client = std::net::TcpStream::connect(hear_where.recv().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    for _ in 0..enough {
        client.write_all(b"?").unwrap();
        client.read_exact(&mut [0]).unwrap();
        if looks.load(Ordering::Acquire) > 0 {
            break;
        }
    }
    drop(client);
    shard.unwrap().join().unwrap();
    looks.load(Ordering::Acquire)
}

#[test]
fn a_shard_that_is_asked_again_and_again_looks_before_it_sleeps_if_it_may() {
    for driver in real_drivers() {
        assert!(looks_under_pings(driver, Duration::from_micros(500), 200_000) > 0, "{driver:?}");
        assert_eq!(looks_under_pings(driver, Duration::ZERO, 2000), 0, "{driver:?}");
    }
}

#[test]
fn a_turn_that_takes_too_long_is_counted() {
    on_each_real_driver(async |World { rt, .. }| {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(15) {
            std::hint::spin_loop();
        }
        rt.sleep(Duration::from_micros(1)).await;
        let stats = rt.stats();
        assert!(stats.stalls >= 1 && stats.longest_turn_us >= 15_000, "{stats:?}");
    });
}

/// The scheduling policy of the calling thread: field 41 of its `stat`, the 39th after the name.
fn policy() -> String {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.split(' ').nth(38).unwrap().to_owned()
}

#[test]
fn a_shard_lets_others_have_its_core_and_its_helpers_have_theirs_at_once() {
    const OTHER: &str = "0";
    const BATCH: &str = "3";
    if policy() != OTHER {
        return eprintln!("not tested: somebody has chosen a policy for this process");
    }
    on_each_real_driver(async |World { host, .. }| {
        assert_eq!(policy(), BATCH, "of a shard");
        let second = host.start("second", 1, None, |rt| {
            Box::pin(async move {
                assert_eq!(policy(), BATCH, "of a shard that a shard started");
                assert_eq!(rt.blocking(|_| policy()).await, OTHER, "of a helper that it started");
            })
        });
        second.unwrap().join().unwrap();
    });
}
