//! The control plane on a simulated disk: what is answered survives a power cut, and every start is seen by clients.

use std::path::Path;

use kringle_protocol::create_topics_request::CreatableTopic;
use kringle_protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest};
use kringle_runtime::sim::{Sim, SimNode};

use super::*;
use crate::control::features::METADATA_VERSION;
use crate::control::metadata_log::DIRECTORY;
use crate::control::quorum_state;
use crate::control::testing::{NODE, config, own};

const DIR: &str = "/data";

/// A machine that may lose its power.
struct Machine {
    sim: Sim,
    node: SimNode,
    starts: u8,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let mut sim = Sim::new(seed);
        let node = sim.node("n");
        Machine { sim, node, starts: 0 }
    }

    fn fs(&self) -> Fs {
        self.node.host().fs()
    }

    fn open(&mut self) -> Result<ControlPlane, ControlError> {
        self.open_with(config())
    }

    fn open_with(&mut self, config: BrokerConfig) -> Result<ControlPlane, ControlError> {
        self.starts += 1;
        let mut next = [self.starts; 16];
        let random = Box::new(move || {
            next[15] = next[15].wrapping_add(1);
            next
        });
        let fs = self.fs();
        let dirs = [LogDir::open(&fs, Path::new(DIR)).expect("nobody else has it")];
        ControlPlane::open(&fs, &dirs, config, own(), None, random, 1_000)
    }

    fn running(&mut self) -> ControlPlane {
        let mut plane = self.open().expect("opens");
        plane.execute(Command::Unfence, 2_000).expect("unfences");
        plane
    }

    fn metadata_file(&self, name: &str) -> std::path::PathBuf {
        Path::new(DIR).join(DIRECTORY).join(name)
    }
}

fn create(plane: &mut ControlPlane, names: &[&str]) -> Executed {
    let topic = |name: &&str| CreatableTopic {
        name: (*name).to_owned(),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: names.iter().map(topic).collect(), ..Default::default() };
    plane.execute(Command::CreateTopics(request), 3_000).expect("executes")
}

/// As in Kafka's stock file, where the quorum is found by `controller.quorum.bootstrap.servers`.
fn without_voters() -> BrokerConfig {
    let text = "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=localhost:9093\n";
    BrokerConfig::load(Some(text), &[]).expect("good settings").config
}

#[test]
fn a_voter_that_the_settings_do_not_name_is_in_the_log_and_stays() {
    let mut machine = Machine::new(11);
    for _ in 0..2 {
        let plane = machine.open_with(without_voters()).expect("opens");
        let voters = &plane.quorum.voters().expect("they are in the log").voters;
        assert_eq!((voters.len(), voters[0].voter_id), (1, NODE));
        assert_eq!(voters[0].voter_directory_id, plane.directories()[0].directory_id);
        assert_eq!((voters[0].endpoints[0].host.as_str(), voters[0].endpoints[0].port), ("localhost", 9093));
        assert_eq!(plane.image().kraft_version(), 1);
    }
}

#[test]
fn a_format_that_was_cut_off_before_its_last_file_is_done_again() {
    let mut machine = Machine::new(12);
    drop(machine.open_with(without_voters()).expect("opens"));
    let fs = machine.fs();
    let first = "00000000000000000000-0000000000.checkpoint";
    for entry in fs.list(Path::new(DIR).join(DIRECTORY)).expect("it is there") {
        if entry.name != first {
            fs.remove_file(machine.metadata_file(&entry.name)).expect("removed");
        }
    }
    fs.remove_file(Path::new(DIR).join("meta.properties")).expect("removed");
    let plane = machine.open_with(without_voters()).expect("only what a format leaves was there");
    let voters = &plane.quorum.voters().expect("they are in the log").voters;
    assert_eq!(voters[0].voter_directory_id, plane.directories()[0].directory_id, "not the one of the first try");
}

#[test]
fn a_new_directory_is_formatted_with_what_is_served_and_nothing_more() {
    let mut machine = Machine::new(1);
    let plane = machine.running();
    let features: Vec<_> = plane.image().features().collect();
    assert_eq!(features, [(METADATA_VERSION, 30)]);
    let broker = plane.image().broker(NODE).expect("registered");
    assert_eq!((broker.fenced, broker.broker_epoch), (false, plane.broker_epoch()));
    assert_eq!(broker.log_dirs, [plane.directories()[0].directory_id]);
    assert!(machine.fs().exists("/data/bootstrap.checkpoint"));
}

#[test]
fn a_command_tells_what_it_changed_and_the_image_holds_it() {
    let mut machine = Machine::new(2);
    let mut plane = machine.running();
    let executed = create(&mut plane, &["a", "b"]);
    assert!(executed.changed);
    assert_eq!(executed.delta.created.values().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(executed.image.offset(), plane.describe_quorum(0).log_end_offset - 1);
    let again = create(&mut plane, &["a"]);
    assert!(!again.changed && again.delta.is_empty());
}

#[test]
fn what_was_answered_survives_a_power_cut_and_leader_epochs_rise() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed);
        let mut plane = machine.running();
        let executed = create(&mut plane, &["a", "b"]);
        let ids = |image: &Image| image.topics().map(|topic| (topic.name.clone(), topic.id)).collect::<Vec<_>>();
        let block = plane.allocate_producer_ids(3_000).expect("allocates");
        let epoch = plane.describe_quorum(0).epoch;
        drop(plane);
        machine.sim.crash(&machine.node);

        let mut plane = machine.running();
        assert_eq!(ids(plane.image()), ids(&executed.image), "seed {seed}");
        let partition = &plane.image().topic("a").expect("there").partitions[1];
        assert_eq!((partition.leader, partition.leader_epoch), (NODE, 1), "seed {seed}");
        assert!(plane.allocate_producer_ids(4_000).expect("allocates").start >= block.end, "seed {seed}");
        assert!(plane.describe_quorum(0).epoch > epoch, "seed {seed}");
    }
}

#[test]
fn every_start_has_a_higher_broker_epoch_and_another_incarnation() {
    let mut machine = Machine::new(3);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut plane = machine.running();
        let broker = plane.image().broker(NODE).expect("registered");
        seen.push((broker.broker_epoch, broker.incarnation_id));
        plane.close(5_000).expect("closes");
        assert!(plane.image().broker(NODE).expect("registered").fenced);
    }
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1), "{seen:?}");
}

#[test]
fn a_snapshot_and_the_log_after_it_make_the_same_image() {
    let mut machine = Machine::new(4);
    let mut plane = machine.running();
    create(&mut plane, &["before"]);
    plane.quorum.write_snapshot(4_000).expect("writes");
    create(&mut plane, &["after"]);
    let image = plane.image().clone();
    drop(plane);

    let fs = machine.fs();
    let identity = Identity {
        node_id: NODE,
        directory_id: image.broker(NODE).expect("registered").log_dirs[0],
        log_dir: DIR.into(),
    };
    let reloaded = Quorum::open(&fs, identity, 5_000).expect("opens");
    assert_eq!(**reloaded.image(), *image);
}

#[test]
fn a_torn_record_at_the_end_is_cut_off_and_all_before_it_is_there() {
    let mut machine = Machine::new(5);
    let mut plane = machine.running();
    create(&mut plane, &["whole"]);
    let log = machine.metadata_file("00000000000000000000.log");
    let whole = machine.fs().len(&log).expect("there");
    create(&mut plane, &["torn"]);
    drop(plane);
    let file = machine.fs().open(&log, kringle_runtime::Open::ReadWrite).expect("opens");
    file.set_len(whole + 30).expect("cuts");

    let plane = machine.running();
    assert!(plane.image().topic("whole").is_some());
    assert!(plane.image().topic("torn").is_none());
}

#[test]
fn an_epoch_that_was_promised_is_never_used_again() {
    let mut machine = Machine::new(6);
    drop(machine.running());
    let path = machine.metadata_file(quorum_state::FILE_NAME);
    let promised = quorum_state::QuorumState::leading(NODE, 41, 0).to_text();
    machine.fs().write_atomic(&path, promised.as_bytes()).expect("writes");
    assert_eq!(machine.running().describe_quorum(0).epoch, 42);
}

#[test]
fn a_quorum_with_another_voter_is_refused_with_its_name() {
    let mut machine = Machine::new(7);
    drop(machine.running());
    let path = machine.metadata_file(quorum_state::FILE_NAME);
    let other = quorum_state::QuorumState::leading(2, 41, 0).to_text();
    machine.fs().write_atomic(&path, other.as_bytes()).expect("writes");
    let error = machine.open().err().expect("refused").to_string();
    assert!(error.starts_with("quorum-state names the voters [2]"), "{error}");
}

#[test]
fn a_directory_of_another_node_or_one_that_lost_its_name_is_refused() {
    let mut machine = Machine::new(8);
    drop(machine.running());
    let path = Path::new(DIR).join("meta.properties");
    let text = machine.fs().read_to_string(&path).expect("there");
    machine.fs().write_atomic(&path, text.replace("node.id=1", "node.id=5").as_bytes()).expect("writes");
    let error = machine.open().err().expect("refused").to_string();
    assert!(error.contains("meta.properties says node.id=5, but this broker has 1"), "{error}");

    machine.fs().remove_file(&path).expect("removes");
    let error = machine.open().err().expect("refused").to_string();
    assert!(error.contains("has no meta.properties but is not empty"), "{error}");
}

#[test]
fn more_records_than_fit_into_a_batch_are_still_all_or_nothing() {
    let mut machine = Machine::new(9);
    let mut plane = machine.running();
    let topic =
        CreatableTopic { name: "wide".to_owned(), num_partitions: 9_000, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    plane.execute(Command::CreateTopics(request), 3_000).expect("executes");
    let whole = machine.fs().len(machine.metadata_file("00000000000000000000.log")).expect("there");
    drop(plane);
    assert_eq!(machine.running().image().topic("wide").expect("there").partitions.len(), 9_000);

    // Without its last batch the transaction has no end.
    let log = machine.fs().open(machine.metadata_file("00000000000000000000.log"), kringle_runtime::Open::ReadWrite);
    log.expect("opens").set_len(whole - 1).expect("cuts");
    let mut plane = machine.running();
    assert!(plane.image().topic("wide").is_none());
    create(&mut plane, &["wide"]);
    drop(plane);
    assert_eq!(machine.running().image().topic("wide").expect("there").partitions.len(), 2);
}

#[test]
fn a_deleted_topic_stays_deleted() {
    let mut machine = Machine::new(10);
    let mut plane = machine.running();
    create(&mut plane, &["a"]);
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    let executed = plane.execute(Command::DeleteTopics(request, 5), 4_000).expect("executes");
    assert_eq!(executed.delta.deleted.len(), 1);
    plane.close(5_000).expect("closes");
    assert!(machine.running().image().topic("a").is_none());
}

#[test]
fn snapshots_are_written_by_size_and_only_the_newest_stay() {
    let mut machine = Machine::new(11);
    let mut plane = machine.running();
    plane.snapshot_bytes = 500;
    for topic in ["a", "b", "c", "d", "e", "f"] {
        create(&mut plane, &[topic]);
    }
    let snapshots = snapshot_file::list(&machine.fs(), &Path::new(DIR).join(DIRECTORY)).expect("lists");
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    assert!(plane.quorum.bytes_since_snapshot() < 500);
    drop(plane);
    assert_eq!(machine.running().image().topic_count(), 6);
}
