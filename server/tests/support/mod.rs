//! A real broker process on a free port and an empty directory, and a client made of nothing but a socket.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the broker: they use the system as it is")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kringle_log::{BatchBuilder, Compression};
use kringle_protocol::messages::*;
use kringle_protocol::{
    ApiKey, Message, Reader, Records, Request, Writer, request_header_version, response_header_version,
};
use nix::sys::signal::Signal;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that runs until it is dropped.
pub(crate) struct TestBroker {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where its controller listens, if it does.
    pub(crate) controller: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    dir: PathBuf,
    /// Removed with the broker.
    home: Option<tempfile::TempDir>,
}

impl TestBroker {
    /// On an empty directory of its own, with two shards.
    pub(crate) fn start() -> TestBroker {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(overrides: &[&str]) -> TestBroker {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().join("data");
        let mut broker = Self::start_on(&dir, overrides);
        broker.home = Some(home);
        broker
    }

    /// With a server.properties of which only the overrides and the directory are replaced.
    pub(crate) fn start_with_file(file: &str, overrides: &[&str]) -> TestBroker {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kringle"));
        command.arg(file);
        let log_dirs = format!("log.dirs={}", dir.display());
        let driver = driver();
        for setting in driver.iter().map(String::as_str).chain(overrides.iter().copied()).chain([log_dirs.as_str()]) {
            command.args(["--override", setting]);
        }
        let mut broker = Self::run(command, &dir);
        broker.home = Some(home);
        broker
    }

    /// On a directory that outlives it.
    pub(crate) fn start_on(dir: &Path, overrides: &[&str]) -> TestBroker {
        Self::run(command(dir, overrides), dir)
    }

    /// By any command line that becomes a broker.
    pub(crate) fn run(mut command: Command, dir: &Path) -> TestBroker {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the broker starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (mut address, mut controller, mut admin) = (None, None, None);
        let listener = |line: &str, name: &str| {
            let rest = line.split(name).nth(1)?;
            let until = rest.find([',', ' ']).unwrap_or(rest.len());
            Some(rest[..until].parse().expect("an address"))
        };
        for line in &mut lines {
            let line = line.expect("readable");
            address = address.or_else(|| listener(&line, "PLAINTEXT://"));
            controller = controller.or_else(|| listener(&line, "CONTROLLER://"));
            if let Some(rest) = line.split("http://").nth(1) {
                admin = Some(rest.trim_end_matches("/metrics").parse().expect("an address"));
            }
            if line.contains("ready in") {
                break;
            }
        }
        // Keeps the pipe open and drained.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.expect("the broker says where it listens");
        TestBroker { child, address, controller, admin, dir: dir.to_owned(), home: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// What the admin listener answers to a GET: status line, headers and body.
    pub(crate) fn http(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin.expect("kringle.admin.listener is set")).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The samples of a metric, one of each shard.
    pub(crate) fn metric(&self, name: &str) -> Vec<f64> {
        let text = self.http("/metrics");
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = text.lines().filter(of_it).map(|line| line.rsplit(' ').next().expect("a value"));
        values.map(|value| value.parse().expect("a number")).collect()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM; true when it ended in order.
    pub(crate) fn stop(self) -> bool {
        self.signal(Signal::SIGTERM).success()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn signal(mut self, signal: Signal) -> ExitStatus {
        self.tell(signal);
        self.child.wait().expect("ended")
    }

    /// Sends a signal and goes on.
    pub(crate) fn tell(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signalled");
    }

    /// Resident memory in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        // Already gone in tests that stop it themselves.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `KRINGLE_TEST_DRIVER=syscall` runs all tests on that driver.
fn driver() -> Option<String> {
    std::env::var("KRINGLE_TEST_DRIVER").ok().map(|driver| format!("kringle.io.driver={driver}"))
}

/// The broker's command line for a test.
pub(crate) fn command(dir: &Path, overrides: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kringle"));
    let fixed = ["listeners=PLAINTEXT://127.0.0.1:0", "kringle.shards=2", "group.initial.rebalance.delay.ms=0"];
    command.arg("--override").arg(format!("log.dirs={}", dir.display()));
    let driver = driver();
    for setting in driver.as_deref().iter().chain(&fixed).chain(overrides) {
        command.args(["--override", setting]);
    }
    command
}

/// One connection, one request at a time.
pub(crate) struct Client {
    socket: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        socket.set_nodelay(true).expect("a TCP socket");
        Client { socket, correlation_id: 0 }
    }

    /// The frame of a request, with its length field.
    pub(crate) fn frame<Q: Request>(&mut self, version: i16, request: &Q) -> Vec<u8> {
        self.correlation_id += 1;
        let mut writer = Writer::new(BytesMut::new());
        let header = RequestHeader {
            request_api_key: Q::API_KEY.into(),
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("test".to_owned()),
        };
        header.encode(&mut writer, request_header_version(Q::API_KEY, version)).expect("encodable");
        request.encode(&mut writer, version).expect("encodable");
        let (bytes, _) = writer.finish();
        let mut frame = u32::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        frame.extend_from_slice(&bytes);
        frame
    }

    /// Another end of the same connection, to send by while this one receives.
    pub(crate) fn clone_sender(&self) -> Client {
        let socket = self.socket.try_clone().expect("a descriptor");
        Client { socket, correlation_id: self.correlation_id }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A broker that closes while we write is what some tests want to see.
        drop(self.socket.write_all(bytes));
    }

    /// The next answer's frame, or `None` when the broker closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.read_exact(&mut body)?;
        Some(body.into())
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(into) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("neither an answer nor a close"),
            Err(_) => None,
        }
    }

    /// Sends a request and decodes the answer.
    pub(crate) fn call<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        let frame = self.frame(version, request);
        self.send(&frame);
        let answer = self.receive().unwrap_or_else(|| panic!("{:?} v{version}: connection closed", Q::API_KEY));
        self.decode::<Q>(version, answer)
    }

    pub(crate) fn decode<Q: Request>(&self, version: i16, answer: Bytes) -> Q::Response {
        self.decode_earlier::<Q>(version, answer, 0)
    }

    /// The answer to the request before the last `later` ones.
    pub(crate) fn decode_earlier<Q: Request>(&self, version: i16, answer: Bytes, later: i32) -> Q::Response {
        let mut reader = Reader::new(answer);
        let header_version = response_header_version(Q::API_KEY, version);
        let header = ResponseHeader::decode(&mut reader, header_version).expect("a header");
        assert_eq!(header.correlation_id, self.correlation_id - later);
        let response = Q::Response::decode(&mut reader, version).expect("a body");
        assert_eq!(reader.remaining(), 0, "nothing may follow the body");
        response
    }

    /// Whether nothing has come from the broker that is not yet read.
    pub(crate) fn has_heard_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let heard = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("a socket");
        heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Whether the broker closes this connection without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) {
        let topic = kringle_protocol::create_topics_request::CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let response = self.call(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    /// Produces one batch of raw bytes; the error code and the base offset.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, acks: i16, records: Bytes) -> (i16, i64) {
        let response = self.call(9, &produce_request(topic, partition, acks, records));
        let answer = &response.responses[0].partition_responses[0];
        (answer.error_code, answer.base_offset)
    }

    /// Fetches once: error code, high watermark and record bytes.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> (i16, i64, Bytes) {
        let ask = kringle_protocol::fetch_request::FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 64 << 20,
            ..Default::default()
        };
        let topic = kringle_protocol::fetch_request::FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![ask],
            ..Default::default()
        };
        let request =
            FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 64 << 20, topics: vec![topic], ..Default::default() };
        let response = self.call(11, &request);
        let answer = &response.responses[0].partitions[0];
        let records = match &answer.records {
            Records::Inline(bytes) => bytes.clone(),
            _ => Bytes::new(),
        };
        (answer.error_code, answer.high_watermark, records)
    }

    pub(crate) fn high_watermark(&mut self, topic: &str, partition: i32) -> i64 {
        let asked = kringle_protocol::list_offsets_request::ListOffsetsPartition {
            partition_index: partition,
            timestamp: -1,
            ..Default::default()
        };
        let topic = kringle_protocol::list_offsets_request::ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: vec![asked],
        };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        self.call(5, &request).topics[0].partitions[0].offset
    }
}

pub(crate) fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data =
        kringle_protocol::produce_request::PartitionProduceData { index: partition, records: Records::Inline(records) };
    let topic = kringle_protocol::produce_request::TopicProduceData {
        name: topic.to_owned(),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

/// A batch of the given values.
pub(crate) fn batch(compression: Compression, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for value in values {
        builder.append(now_ms(), None, Some(value), &[]);
    }
    builder.build(0, -1)
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_1970.as_millis()).expect("before the year 292 million")
}

/// A frame header by hand: key, version, correlation id 7, client id "x".
pub(crate) fn raw_request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(&[0, 1, b'x']);
    frame.extend_from_slice(body);
    let mut with_length = u32::try_from(frame.len()).expect("short").to_be_bytes().to_vec();
    with_length.extend(frame);
    with_length
}

/// A request that any broker answers: proves that it lives.
pub(crate) fn still_answers(broker: &TestBroker) {
    let response = broker.connect().call(
        3,
        &ApiVersionsRequest { client_software_name: "test".to_owned(), client_software_version: "1".to_owned() },
    );
    assert!(response.api_keys.iter().any(|api| api.api_key == i16::from(ApiKey::PRODUCE)));
}
