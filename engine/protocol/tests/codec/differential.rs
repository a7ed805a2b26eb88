//! Our bytes against another implementation of the protocol, the `kafka-protocol` crate (at the level of Kafka 4.1).

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kringle_protocol::dynamic;

use crate::support::sample;

/// Versions that were unstable in Kafka 4.1, and so are not coded there.
const NOT_THERE: [(&str, i16); 3] =
    [("InitProducerIdRequest", 6), ("OffsetCommitRequest", 10), ("OffsetFetchRequest", 10)];

/// Decodes with the other implementation and encodes again.
fn elsewhere(key: ApiKey, is_request: bool, mut bytes: Bytes, version: i16) -> Result<(BytesMut, usize), String> {
    let mut again = BytesMut::new();
    if is_request {
        let request = RequestKind::decode(key, &mut bytes, version).map_err(|e| e.to_string())?;
        request.encode(&mut again, version).map_err(|e| e.to_string())?;
    } else {
        let response = ResponseKind::decode(key, &mut bytes, version).map_err(|e| e.to_string())?;
        response.encode(&mut again, version).map_err(|e| e.to_string())?;
    }
    Ok((again, bytes.len()))
}

#[test]
fn another_implementation_reads_and_writes_the_same_bytes() {
    let mut compared = 0;
    for info in dynamic::messages().filter(|info| info.is_request || info.is_response) {
        let Some(key) = info.api.and_then(|api| ApiKey::try_from(api).ok()) else { continue };
        let theirs = key.valid_versions();
        for version in info.versions.filter(|version| (theirs.min..=theirs.max).contains(version)) {
            if NOT_THERE.contains(&(info.name, version)) {
                continue;
            }
            for seed in 0..6 {
                let (value, bytes) = sample(info.name, version, seed);
                let what = format!("{} {version} seed {seed}", info.name);
                let (again, remaining) = elsewhere(key, info.is_request, bytes.clone(), version)
                    .unwrap_or_else(|e| panic!("{what}: {e}\n{value}"));
                assert_eq!((again.freeze(), remaining), (bytes, 0), "{what}\n{value}");
                compared += 1;
            }
        }
    }
    assert!(compared > 3000, "only {compared} messages compared");
}
