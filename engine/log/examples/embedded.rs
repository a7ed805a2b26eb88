//! An embedded log without a broker: append, make durable, read back, stop. Apache Kafka could open the directory.
//!
//! `cargo run -p kringle-log --example embedded`

use std::error::Error;

use kringle_log::*;
use kringle_protocol::Uuid;
use kringle_runtime::{Host, RealOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let fs = Host::real(RealOptions::default())?.fs();
    let home = LogDir::open(&fs, &std::env::temp_dir().join("kringle-embedded"))?;
    let partition = TopicPartition::new("events", 0);
    let how = OpenLog::new(partition.clone(), Uuid::METADATA_TOPIC_ID, LogConfig::default(), fs.wall_ms());
    let mut log = PartitionLog::open(&fs, &home.partition_path(&partition), how)?;

    let mut batch = BatchBuilder::new(Compression::Zstd);
    for i in 0..1000 {
        batch.append(fs.wall_ms(), None, Some(format!("event {i}").as_bytes()), &[]);
    }
    let batch = validate(&batch.build(0, -1), &log.config().rules(partition), Origin::Client, fs.wall_ms())?;
    let appended = log.append(batch, 0, Acks::All, fs.wall_ms())?;
    log.flush_blocking()?;
    println!("offsets {}..={} are durable", appended.base_offset, appended.last_offset);

    let slice = log.read(appended.base_offset, 1 << 20, Upto::HighWatermark, true)?;
    let mut bytes = vec![0; slice.len];
    slice.file.ok_or("nothing to read")?.read_exact_at(&mut bytes, slice.position)?;
    for_each_record(&BatchView::parse(&bytes)?, |record| {
        if record.offset % 250 == 0 {
            println!("{}: {}", record.offset, String::from_utf8_lossy(record.value.unwrap_or_default()));
        }
    })?;
    log.close_job().run(&fs)?;
    Ok(())
}
