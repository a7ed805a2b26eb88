//! The client of the broker rows: blocking sockets on one thread, requests encoded beforehand, so that as little of the machine as
//! possible goes to it. Every answer is looked at: a row of refused requests would be a fast one.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use kringle_protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, ResponseHeader};
use kringle_protocol::{
    Message, Reader, Records, Request, Writer, create_topics_request, fetch_request, produce_request,
    request_header_version, response_header_version,
};

/// The newest versions whose answers have their error codes at a fixed place: no flexible fields, topics by name.
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;
const CREATE_TOPICS_VERSION: i16 = 7;
const TIMEOUT_MS: i32 = 30_000;

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

/// The bytes of a Produce request for one partition.
pub(super) fn produce_request(topic: &str, partition: i32, acks: i16, batch: &Bytes) -> Vec<u8> {
    let records = Records::Inline(batch.clone());
    let data = produce_request::PartitionProduceData { index: partition, records };
    let topic =
        produce_request::TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest { acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic], ..Default::default() };
    frame(PRODUCE_VERSION, &request)
}

/// The bytes of a Fetch request for so many bytes of one partition.
pub(super) fn fetch_request(topic: &str, partition: i32, offset: i64, bytes: usize) -> Vec<u8> {
    let bytes = i32::try_from(bytes).expect("a small fetch");
    let asked = fetch_request::FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: bytes,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic { topic: topic.to_owned(), partitions: vec![asked], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: TIMEOUT_MS,
        min_bytes: 1,
        max_bytes: bytes,
        topics: vec![topic],
        ..Default::default()
    };
    frame(FETCH_VERSION, &request)
}

/// Creates a topic and waits until it is there.
pub(super) fn create_topic(broker: SocketAddr, name: &str, partitions: i32) {
    let topic = create_topics_request::CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, ..Default::default() };
    let mut socket = connect(broker);
    socket.get_mut().write_all(&frame(CREATE_TOPICS_VERSION, &request)).expect("the broker receives");
    let mut answer = Vec::new();
    receive(&mut socket, &mut answer);
    let mut reader = Reader::new(answer.into());
    let header_version = response_header_version(CreateTopicsRequest::API_KEY, CREATE_TOPICS_VERSION);
    ResponseHeader::decode(&mut reader, header_version).expect("a header");
    let answer = <CreateTopicsRequest as Request>::Response::decode(&mut reader, CREATE_TOPICS_VERSION);
    let answer = answer.expect("an answer to CreateTopics");
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// Length, header and body.
fn frame<Q: Request>(version: i16, request: &Q) -> Vec<u8> {
    let mut writer = Writer::default();
    let header = RequestHeader {
        request_api_key: Q::API_KEY.into(),
        request_api_version: version,
        correlation_id: 0,
        client_id: Some("bench".to_owned()),
    };
    header.encode(&mut writer, request_header_version(Q::API_KEY, version)).expect("the version carries it");
    request.encode(&mut writer, version).expect("the version carries it");
    let (bytes, _) = writer.finish();
    let length = u32::try_from(bytes.len()).expect("a small request");
    [&length.to_be_bytes(), &bytes[..]].concat()
}
