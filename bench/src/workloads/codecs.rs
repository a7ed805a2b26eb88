//! `codecs`: the same load with every codec and level. Batches are compressed beforehand, so that the figures are the broker's;
//! what compression costs a producer is measured apart and noted.

use std::time::Instant;

use crate::cli;
use crate::error::BenchError;
use crate::plan::{Codec, Load, RecordPlan, Timing};
use crate::session::Session;
use crate::template::{encode, full_batch};
use crate::units::{significant, to_f64};
use crate::workloads::Findings;
use crate::workloads::produce::{measure, without_batches};

/// How often a batch is encoded to see what that costs.
const ENCODINGS: u32 = 20;

pub(crate) fn run(options: &cli::Codecs, session: &Session) -> Result<Findings, BenchError> {
    let load = Load::from_cli(&options.produce.records, &options.produce.sending);
    let timing = Timing::from_cli(&options.produce.run);
    if load.records.codec != Codec::NONE {
        return Err(BenchError::Options("all of --codecs are compared, so --compression has no meaning".to_owned()));
    }
    let (mut findings, mut costs) = (Findings::comparing(without_batches(&load, session)), Vec::new());
    for codec in &options.codecs {
        let records = RecordPlan { codec: *codec, ..load.records.clone() };
        costs.push(format!("{codec} {}", significant(encoding_mb_s(&records))));
        let name = codec.to_string();
        let step = measure(session, &name, &name, Load { records, ..load.clone() }, timing);
        if !findings.take(&name, step) {
            break;
        }
    }
    findings.notes = vec![
        "ratio is bytes before compression by bytes after it".to_owned(),
        format!("encoding batches takes one thread here, MB/s of keys and values: {}", costs.join(", ")),
    ];
    if load.records.payload == crate::plan::Payload::Random {
        findings.notes.push("random values do not compress: --payload json resembles events".to_owned());
    }
    Ok(findings)
}

/// MB/s of keys and values that one thread here turns into full batches.
fn encoding_mb_s(plan: &RecordPlan) -> f64 {
    let records = full_batch(plan);
    let payload_bytes = records.len() * plan.record_bytes();
    let began = Instant::now();
    for _ in 0..ENCODINGS {
        std::hint::black_box(encode(plan.codec, &records));
    }
    to_f64(payload_bytes) * f64::from(ENCODINGS) / began.elapsed().as_secs_f64() / 1e6
}
