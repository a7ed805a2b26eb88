//! The ordered stop while clients are connected: quick whatever they wait for, and without taking back an answer's word.
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kringle_log::Compression;
use kringle_protocol::messages::{FetchRequest, FindCoordinatorRequest, JoinGroupRequest, ProduceRequest};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{TestBroker, batch, command, produce_request};

/// No client may hold a stop up for longer.
const QUICK: Duration = Duration::from_secs(5);

/// A fetch that nothing answers for half a minute.
fn long_poll(fetch_offset: i64) -> FetchRequest {
    let partition = kringle_protocol::fetch_request::FetchPartition {
        partition: 0,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = kringle_protocol::fetch_request::FetchTopic {
        topic: "t".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest { max_wait_ms: 30_000, min_bytes: 1, max_bytes: 1 << 20, topics: vec![topic], ..Default::default() }
}

/// A member that waits for others to join.
fn join() -> JoinGroupRequest {
    let protocol = kringle_protocol::join_group_request::JoinGroupRequestProtocol {
        name: "range".to_owned(),
        metadata: bytes::Bytes::new(),
    };
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

#[test]
fn both_signals_end_it_at_once_whatever_clients_wait_for() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let home = tempfile::tempdir().expect("a directory");
        let broker = TestBroker::start_on(home.path(), &["group.initial.rebalance.delay.ms=30000"]);
        let mut idle = broker.connect();
        idle.create_topic("t", 1);
        let mut poller = broker.connect();
        let frame = poller.frame(11, &long_poll(0));
        poller.send(&frame);
        let mut member = broker.connect();
        let coordinator = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
        while member.call(1, &coordinator).error_code != 0 {}
        let frame = member.frame(3, &join());
        member.send(&frame);
        let mut half = broker.connect();
        let frame = half.frame(9, &produce_request("t", 0, -1, batch(Compression::None, &[b"never whole"])));
        half.send(&frame[..frame.len() - 1]);
        // Whatever was sent before this answer has arrived.
        assert_eq!(idle.produce("t", 0, -1, batch(Compression::None, &[b"kept"])), (0, 0));
        assert!(poller.receive().is_some(), "the record wakes the long poll");
        let frame = poller.frame(11, &long_poll(1));
        poller.send(&frame);

        let began = Instant::now();
        let status = broker.signal(signal);
        let took = began.elapsed();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(took < QUICK, "{signal}: {took:?}");
        assert!(idle.is_closed() && poller.is_closed() && member.is_closed() && half.is_closed());
        let again = TestBroker::start_on(home.path(), &[]);
        assert_eq!(again.connect().high_watermark("t", 0), 1, "what was whole is kept, and nothing else");
    }
}

/// `kringle | head` leaves it with pipes that nobody reads.
#[test]
fn it_stops_too_where_nobody_reads_what_it_says() {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = command(home.path(), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let said = BufReader::new(child.stdout.take().expect("piped"));
    assert!(said.lines().any(|line| line.expect("readable").contains("ready in")));
    drop(child.stderr.take());
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("signalled");
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()));
    let Ok(status) = ended.recv_timeout(QUICK) else {
        nix::sys::signal::kill(pid, Signal::SIGKILL).expect("signalled");
        panic!("it does not stop");
    };
    assert_eq!(status.expect("waited for").code(), Some(0));
}

/// A producer that does not hear of a batch sends it again, and a start remembers only its last one.
#[test]
fn what_is_in_the_log_after_a_stop_was_answered_before_it() {
    let home = tempfile::tempdir().expect("a directory");
    let mut written = 0;
    for round in 0..5 {
        let broker = TestBroker::start_on(home.path(), &[]);
        let mut client = broker.connect();
        if round == 0 {
            client.create_topic("t", 1);
        }
        let request: ProduceRequest = produce_request("t", 0, -1, batch(Compression::None, &[b"value"]));
        let frames: Vec<u8> = (0..100).flat_map(|_| client.frame(9, &request)).collect();
        client.send(&frames);
        // In the middle of it.
        assert!(client.receive().is_some());
        broker.tell(Signal::SIGTERM);
        let answered = 1 + std::iter::from_fn(|| client.receive()).count();
        assert!(broker.stop());
        written += i64::try_from(answered).expect("few");
        let after = TestBroker::start_on(home.path(), &[]);
        assert_eq!(after.connect().high_watermark("t", 0), written, "round {round}: {answered} answers");
        assert!(after.stop());
    }
}
