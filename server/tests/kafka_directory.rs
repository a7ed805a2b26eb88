//! Apache Kafka and Kringle's control plane in turn on one directory: each finds what the other left.
//!
//! Needs a Java and the jars of Apache Kafka 4.3.1: `KAFKA_LIBS` names their directory. Without it nothing is tested, and
//! a line says so.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use kringle::config::BrokerConfig;
use kringle::control::controller::registration::{Endpoint, Registration};
use kringle::control::image::{Image, ResourceType};
use kringle::control::plane::{Command, CommandResponse};
use kringle::control::{ControlError, ControlPlane};
use kringle_log::LogDir;
use kringle_protocol::create_topics_request::CreatableTopic;
use kringle_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use kringle_runtime::{Fs, Host, RealOptions};

/// How `StorageTool` and a first start make a directory.
#[derive(Clone, Copy, PartialEq)]
enum Made {
    /// By Kafka, with the voters in the configuration.
    WithStaticVoters,
    /// By Kafka's `format --standalone`, with the voters in the metadata log.
    Standalone,
    /// By Kringle.
    ByKringle,
}

struct Place {
    libs: PathBuf,
    data: tempfile::TempDir,
    port: u16,
    made: Made,
    fs: Fs,
}

impl Place {
    fn new(made: Made) -> Option<Place> {
        let Some(libs) = std::env::var_os("KAFKA_LIBS") else {
            println!("skipped: KAFKA_LIBS does not name the directory of Apache Kafka's jars");
            return None;
        };
        let data = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let fs = Host::real(RealOptions::default()).expect("this kernel has io_uring").fs();
        Some(Place { libs: libs.into(), data, port, made, fs })
    }

    fn log_dir(&self) -> PathBuf {
        self.data.path().join("logs")
    }

    fn properties(&self) -> String {
        let controller = self.port + 1;
        let quorum = match self.made {
            Made::Standalone => format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}"),
            _ => format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        };
        format!(
            "process.roles=broker,controller\nnode.id=1\n{quorum}\nlog.dirs={}\n\
             listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\noffsets.topic.replication.factor=1\n\
             metadata.log.max.record.bytes.between.snapshots=300\n",
            self.log_dir().display(),
            self.port
        )
    }

    fn file(&self) -> PathBuf {
        let path = self.data.path().join("server.properties");
        self.fs.write_atomic(&path, self.properties().as_bytes()).expect("writes");
        path
    }

    fn java(&self, class: &str, args: &[&str]) -> Process {
        let mut java = Process::new("java");
        java.arg("-Xmx384m").arg("-cp").arg(self.libs.join("*")).arg(class).args(args);
        java.stdin(Stdio::null()).stderr(Stdio::null());
        java
    }

    fn run(&self, class: &str, args: &[&str]) -> String {
        let output = self.java(class, args).output().expect("java runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{class} {args:?}: {text}");
        text
    }

    fn format(&self) {
        let file = self.file();
        let mut args = vec!["format", "-t", "V-jtGTqzT3SxFSWjsg0Q5A", "-c", text(&file)];
        if self.made == Made::Standalone {
            args.push("--standalone");
        }
        self.run("kafka.tools.StorageTool", &args);
    }

    fn kafka(&self) -> Kafka {
        let file = self.file();
        let child = self.java("kafka.Kafka", &[text(&file)]).stdout(Stdio::null()).spawn().expect("java runs");
        Kafka(child)
    }

    fn topics(&self, args: &[&str]) -> String {
        let server = format!("127.0.0.1:{}", self.port);
        let args: Vec<_> = ["--bootstrap-server", &server].into_iter().chain(args.iter().copied()).collect();
        self.run("org.apache.kafka.tools.TopicCommand", &args)
    }

    /// Name, id and number of partitions of each topic, as Kafka tells them.
    fn told_by_kafka(&self) -> Vec<(String, String, usize)> {
        let text = self.topics(&["--describe"]);
        let field = |line: &str, name: &str| {
            let after = line.split_once(name).unwrap_or_else(|| panic!("{name} in {line}")).1;
            after.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let heads = text.lines().filter(|line| line.contains("TopicId:"));
        let topic = |line: &str| {
            let partitions = field(line, "PartitionCount:").parse().expect("a number");
            (field(line, "Topic:"), field(line, "TopicId:"), partitions)
        };
        let mut topics: Vec<_> = heads.map(topic).collect();
        topics.sort();
        assert!(!text.contains("Leader: none"), "{text}");
        topics
    }

    fn kringle(&self) -> Result<Kringle, ControlError> {
        let dir = LogDir::open(&self.fs, &self.log_dir()).expect("Kafka has let go of it");
        dir.remove_clean_shutdown().expect("removes");
        let config = BrokerConfig::load(Some(&self.properties()), &[]).expect("good settings").config;
        let endpoint = |name: &str, port| Endpoint {
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            security_protocol: 0,
        };
        let own = Registration {
            node_id: 1,
            broker_endpoints: vec![endpoint("PLAINTEXT", self.port)],
            controller_endpoints: vec![endpoint("CONTROLLER", self.port + 1)],
            rack: None,
            log_dirs: Vec::new(),
        };
        let mut seed = self.fs.wall_ms();
        let random = Box::new(move || {
            seed += 1;
            let mut bytes = [0x11; 16];
            bytes[8..].copy_from_slice(&seed.to_le_bytes());
            bytes[..8].copy_from_slice(&seed.wrapping_mul(0x5851_f42d_4c95_7f2d).to_le_bytes());
            bytes
        });
        let dirs = [dir];
        let mut plane = ControlPlane::open(&self.fs, &dirs, config, own, None, random, self.fs.wall_ms())?;
        plane.execute(Command::Unfence, self.fs.wall_ms())?;
        let [dir] = dirs;
        Ok(Kringle { plane, dir, fs: self.fs.clone() })
    }
}

struct Kringle {
    plane: ControlPlane,
    dir: LogDir,
    fs: Fs,
}

impl Kringle {
    fn create(&mut self, name: &str, partitions: i32) {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let executed = self.plane.execute(Command::CreateTopics(request), self.fs.wall_ms()).expect("executes");
        let CommandResponse::CreateTopics(response) = executed.response else { panic!("{:?}", executed.response) };
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    fn delete(&mut self, name: &str) {
        let request = DeleteTopicsRequest { topic_names: vec![name.to_owned()], ..Default::default() };
        self.plane.execute(Command::DeleteTopics(request, 5), self.fs.wall_ms()).expect("executes");
    }

    fn topics(&self) -> Vec<(String, String, usize)> {
        let of = |image: &Image| {
            image.topics().map(|t| (t.name.clone(), t.id.to_string(), t.partitions.len())).collect::<Vec<_>>()
        };
        of(self.plane.image())
    }

    fn close(mut self) {
        self.plane.close(self.fs.wall_ms()).expect("closes");
        self.dir.write_clean_shutdown(self.plane.broker_epoch()).expect("writes");
    }
}

struct Kafka(Child);

impl Kafka {
    fn stop(mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).expect("it runs");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // After a failed assertion; otherwise it has ended.
        drop(self.0.kill());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// A port that is free together with the next one.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn in_turn(made: Made) {
    let Some(place) = Place::new(made) else { return };
    if made == Made::ByKringle {
        place.kringle().expect("formats and opens").close();
    } else {
        place.format();
    }
    let kafka = place.kafka();
    place.topics(&["--create", "--topic", "from-kafka", "--partitions", "3", "--config", "retention.ms=77"]);
    place.topics(&["--create", "--topic", "short-lived"]);
    let first = place.told_by_kafka();
    kafka.stop();

    let mut kringle = place.kringle().expect("opens what Kafka left");
    assert_eq!(kringle.topics(), first);
    let overrides = kringle.plane.image().configs(ResourceType::Topic, "from-kafka").expect("configured").clone();
    assert_eq!(overrides.into_iter().collect::<Vec<_>>(), [("retention.ms".to_owned(), "77".to_owned())]);
    kringle.create("from-kringle", 2);
    kringle.delete("short-lived");
    let epoch = kringle.plane.image().topic("from-kafka").expect("there").partitions[0].leader_epoch;
    let second = kringle.topics();
    kringle.close();

    let kafka = place.kafka();
    assert_eq!(place.told_by_kafka(), second);
    place.topics(&["--create", "--topic", "last", "--partitions", "1"]);
    let third = place.told_by_kafka();
    kafka.stop();

    let kringle = place.kringle().expect("opens again");
    assert_eq!(kringle.topics(), third);
    assert!(kringle.plane.image().topic("from-kafka").expect("there").partitions[0].leader_epoch > epoch);
    kringle.close();
}

#[test]
fn a_directory_of_kafka_with_static_voters_goes_back_and_forth() {
    in_turn(Made::WithStaticVoters);
}

#[test]
fn a_directory_of_kafkas_standalone_format_goes_back_and_forth() {
    in_turn(Made::Standalone);
}

#[test]
fn a_directory_of_kringle_goes_back_and_forth() {
    in_turn(Made::ByKringle);
}
