//! Requests that end too early or go on too long: every API in every version, cut and lengthened at a few places.
//!
//! The bodies are those that were answered while the scenarios ran; each broker gets its own (they may carry ids that
//! only it knows). What counts is whether the connection closes, and what is answered if it does not.

use kringle_protocol::dynamic::Value;

use crate::broker::{Broker, CLIENT, Encoded, read_answer};
use crate::runner::{Outcome, Sample, Taken};
use crate::wire::{Connection, Reply};

/// Sends the spoiled forms of one body.
pub(crate) fn spoiled(broker: &Broker, sample: &Sample) -> Vec<Taken> {
    let body = &sample.body;
    let mut forms: Vec<(String, Vec<u8>)> = Vec::new();
    for quarter in 0..4 {
        forms.push((format!("body cut to {quarter} quarters"), body[..body.len() * quarter / 4].to_vec()));
    }
    if let Some((_, most)) = body.split_last() {
        forms.push(("last byte missing".into(), most.to_vec()));
        let mut flipped = body.to_vec();
        flipped[0] ^= 0xff;
        forms.push(("first byte inverted".into(), flipped));
    }
    forms.push(("one byte too many".into(), [body, &[0u8][..]].concat()));
    // To join a group twice is to wait for the member that joined the first time.
    if sample.api != "JoinGroup" {
        forms.push(("nine bytes too many".into(), [body, &[0xff; 9][..]].concat()));
    }
    forms.dedup_by(|a, b| a.1 == b.1);
    forms.into_iter().map(|(name, body)| send(broker, sample, &name, body)).collect()
}

fn send(broker: &Broker, sample: &Sample, name: &str, body: Vec<u8>) -> Taken {
    let (api, version) = (sample.api.clone(), sample.version);
    let outcome = exchange(broker, &api, version, body).unwrap_or_else(Outcome::Unsent);
    Taken { api, version, step: format!("spoiled: {name}"), outcome }
}

fn exchange(broker: &Broker, api: &str, version: i16, body: Vec<u8>) -> Result<Outcome, String> {
    let encoded = Encoded::of(api, version, &Value::Bytes(body.into()))?;
    let mut connection = Connection::open(broker.address)?;
    let correlation = encoded.send(&mut connection, Some(CLIENT));
    Ok(match connection.receive() {
        Reply::Frame(frame) => match read_answer(api, version, correlation, &frame) {
            Ok(value) => Outcome::Answer(value),
            Err(reason) => Outcome::Unreadable(reason),
        },
        Reply::Closed => Outcome::Closed,
        Reply::Silent => Outcome::Silent,
    })
}
