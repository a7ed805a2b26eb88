//! The client of the broker rows: blocking sockets on one thread, requests encoded beforehand, so that as little of the machine as
//! possible goes to it. Every answer is looked at: a row of refused requests would be a fast one.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use kringle_bench::frames;

/// What an answer must be.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// A Produce answer without an error.
    Appended { topic: &'static str },
    /// A Fetch answer without an error and with so many bytes of records.
    Records { topic: &'static str, bytes: usize },
}

impl Expected {
    fn check(self, answer: &[u8]) {
        match self {
            Expected::Appended { topic } => {
                // Correlation id, topics, name, partitions, index; then the error code.
                let at = 4 + 4 + 2 + topic.len() + 4 + 4;
                assert_eq!(i16_at(answer, at), 0, "error code of the Produce answer");
            }
            Expected::Records { topic, bytes } => {
                // Correlation id, throttle time; error code; session id, topics, name, partitions, index; error code.
                assert_eq!(i16_at(answer, 4 + 4), 0, "error code of the Fetch answer");
                let at = 4 + 4 + 2 + 4 + 4 + 2 + topic.len() + 4 + 4;
                assert_eq!(i16_at(answer, at), 0, "error code of the fetched partition");
                assert!(answer.len() > at + bytes, "{} bytes are too few for {bytes} of records", answer.len());
            }
        }
    }
}

fn i16_at(answer: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// A connection and what it asks, again and again.
pub(super) struct Client {
    requests: Vec<Vec<u8>>,
    next: usize,
    expected: Expected,
    socket: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(broker: SocketAddr, requests: Vec<Vec<u8>>, expected: Expected) -> Client {
        Client { requests, next: 0, expected, socket: connect(broker), answer: Vec::new() }
    }

    fn send(&mut self) {
        self.socket.get_mut().write_all(&self.requests[self.next]).expect("the broker receives");
        self.next = (self.next + 1) % self.requests.len();
    }

    fn receive(&mut self) {
        receive(&mut self.socket, &mut self.answer);
        self.expected.check(&self.answer);
    }
}

fn connect(broker: SocketAddr) -> BufReader<TcpStream> {
    let socket = TcpStream::connect(broker).expect("the broker listens");
    socket.set_nodelay(true).expect("a TCP socket");
    BufReader::new(socket)
}

/// The next answer, without its length.
fn receive(socket: &mut BufReader<TcpStream>, answer: &mut Vec<u8>) {
    let mut length = [0; 4];
    socket.read_exact(&mut length).expect("the broker answers");
    answer.resize(u32::from_be_bytes(length) as usize, 0);
    socket.read_exact(answer).expect("the broker answers in full");
}

/// Connections that keep so many requests in flight each.
pub(super) struct Load {
    clients: Vec<Client>,
    in_flight: u64,
}

impl Load {
    pub(super) fn new(clients: Vec<Client>, in_flight: usize) -> Load {
        Load { clients, in_flight: in_flight as u64 }
    }

    /// So many requests on every connection, all of them answered at the end.
    pub(super) fn run(&mut self, requests: u64) {
        for n in 0..requests + self.in_flight {
            for client in &mut self.clients {
                if n >= self.in_flight {
                    client.receive();
                }
                if n < requests {
                    client.send();
                }
            }
        }
    }
}

/// Creates a topic and waits until it is there.
pub(super) fn create_topic(broker: SocketAddr, name: &str, partitions: i32) {
    let mut socket = connect(broker);
    socket.get_mut().write_all(&frames::create_topic(name, partitions)).expect("the broker receives");
    let mut answer = Vec::new();
    receive(&mut socket, &mut answer);
    // Correlation id, throttle time, topics, name; then the error code.
    assert_eq!(i16_at(&answer, 4 + 4 + 4 + 2 + name.len()), 0, "error code of the CreateTopics answer");
}
