//! The loop of the thin load: one thread, one epoll, each connection with a bounded number of requests in flight.
//!
//! Closed loop without a rate. With one, requests are begun as the clock allows them; the latency counts from the
//! moment at which the loop begins the request. What a [`Load`] sends and how it reads answers is its own business.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::RawError;
use super::connection::{Connection, SINK_BYTES};
use super::report::Tally;

const EVENTS: usize = 64;

/// How fast and for how long.
pub(super) struct Pace {
    /// Requests in flight on one connection.
    pub(super) in_flight: usize,
    /// Requests per second over all connections; none is as fast as answers come.
    pub(super) requests_per_s: Option<f64>,
    /// Before anything is counted.
    pub(super) warm: Duration,
    /// Of counting; none is until the load says that it is done.
    pub(super) counted: Option<Duration>,
}

/// What one answer was.
pub(super) struct Outcome {
    /// Kafka's error code, 0 for none.
    pub(super) error: i16,
    /// Payload bytes that it acknowledges or carries.
    pub(super) bytes: u64,
}

/// What is sent, and what the answers mean.
pub(super) trait Load {
    /// The next request of a connection, in two pieces; asked again, unchanged, while part of it has not left.
    fn request(&mut self, connection: usize, begins: bool) -> [&[u8]; 2];
    /// A request is begun.
    fn begun(&mut self) {}
    /// All of the request has left.
    fn sent(&mut self, _connection: usize) {}
    /// The head of the answer to the oldest request.
    fn answered(&mut self, connection: usize, head: &[u8], tally: &mut Tally) -> Result<Outcome, RawError>;
    /// Whether the connection has something to ask for.
    fn wants(&self, _connection: usize) -> bool {
        true
    }
    /// Whether no connection has anything to ask for any more.
    fn done(&self) -> bool {
        false
    }
}

/// Runs a load to its end. `counting` is called when the warm-up is over.
pub(super) fn drive(
    load: &mut impl Load,
    connections: &mut [Connection],
    pace: &Pace,
    mut counting: impl FnMut(),
) -> Result<(Tally, Duration), RawError> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(std::io::Error::from)?;
    for (index, connection) in (0..).zip(connections.iter()) {
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(connection.socket.as_fd(), EpollEvent::new(interest, index)).map_err(std::io::Error::from)?;
    }
    let timeout = EpollTimeout::from(if pace.requests_per_s.is_some() { 1_u8 } else { 100 });
    let mut sink = vec![0; SINK_BYTES];
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut tally = Tally::new();
    let mut issued = 0_u64;
    let began = Instant::now();
    let count_from = began + pace.warm;
    let mut warming = true;
    loop {
        let now = Instant::now();
        if warming && now >= count_from {
            warming = false;
            tally = Tally::new();
            counting();
        }
        if pace.counted.is_some_and(|counted| now >= count_from + counted) || load.done() {
            return Ok((tally, now.saturating_duration_since(if warming { began } else { count_from })));
        }
        let allowed = pace.requests_per_s.map(|rate| now.duration_since(began).as_secs_f64() * rate);
        for (index, connection) in connections.iter_mut().enumerate() {
            issued += begin_requests(load, index, connection, pace.in_flight, now, |more| {
                #[allow(clippy::cast_precision_loss, reason = "2^53 requests take longer than a run")]
                allowed.is_none_or(|allowed| (issued + more) as f64 <= allowed)
            })?;
        }
        let ready = match epoll.wait(&mut events, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other.map_err(std::io::Error::from)?,
        };
        for event in &events[..ready] {
            let index = usize::try_from(event.data()).expect("an index of a connection");
            receive_answers(load, index, &mut connections[index], &mut sink, &mut tally)?;
        }
    }
}

/// Sends what the connection may have in flight; how many requests were begun.
fn begin_requests(
    load: &mut impl Load,
    index: usize,
    connection: &mut Connection,
    in_flight: usize,
    now: Instant,
    allowed: impl Fn(u64) -> bool,
) -> Result<u64, RawError> {
    let mut begun = 0;
    loop {
        if !connection.sending {
            if connection.waiting.len() >= in_flight || !load.wants(index) || !allowed(begun) {
                return Ok(begun);
            }
            connection.begin(now);
            load.begun();
            begun += 1;
        }
        let request = load.request(index, connection.at_start());
        if !connection.send(request)? {
            return Ok(begun);
        }
        load.sent(index);
    }
}

fn receive_answers(
    load: &mut impl Load,
    index: usize,
    connection: &mut Connection,
    sink: &mut [u8],
    tally: &mut Tally,
) -> Result<(), RawError> {
    while let Some(head) = connection.receive(sink)? {
        let outcome = load.answered(index, head, tally)?;
        let begun = connection.waiting.pop_front().ok_or(RawError::Unasked)?;
        tally.answer(begun.elapsed(), &outcome);
    }
    Ok(())
}
