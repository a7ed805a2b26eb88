//! A topic that is deleted while it is written: its logs roll and are synced meanwhile, in a directory that gets another name.

mod support;

use std::time::{Duration, Instant};

use kringle_log::Compression;
use kringle_protocol::messages::*;
use support::{TestBroker, batch, still_answers};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

#[test]
#[allow(clippy::disallowed_methods, reason = "tests use the system's clock")]
fn a_topic_goes_while_its_segments_roll() {
    let broker = TestBroker::start_with(&["log.segment.bytes=1048576"]);
    let mut admin = broker.connect();
    for round in 0..8 {
        let name = format!("rolling-{}", round % 2);
        admin.create_topic(&name, 2);
        std::thread::scope(|scope| {
            for partition in 0..2 {
                let (broker, name) = (&broker, &name);
                scope.spawn(move || {
                    let mut producer = broker.connect();
                    let records = batch(Compression::None, &[&[7; 400_000]]);
                    let begin = Instant::now();
                    // Until it is gone.
                    while producer.produce(name, partition, 1, records.clone()).0 != UNKNOWN_TOPIC_OR_PARTITION {
                        assert!(begin.elapsed() < Duration::from_secs(20), "{name} is there to stay");
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(60));
            let topic_names = vec![name.clone()];
            let answer = admin.call(5, &DeleteTopicsRequest { topic_names, timeout_ms: 5000, ..Default::default() });
            assert_eq!(answer.responses[0].error_code, 0);
        });
    }
    still_answers(&broker);
    assert!(broker.stop(), "a clean stop");
}
