//! One broker under comparison: what it serves, and how a request becomes a frame and a frame an answer.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use bytes::Bytes;
use kringle_protocol::dynamic::Value;

use crate::apis;
use crate::value::{int, items, member, text};
use crate::wire::{Connection, Reply, frame};

/// The client id of every request that does not say otherwise.
pub(crate) const CLIENT: &str = "comparer";

/// A broker, as far as it must be known to talk to it and to hide what is only its own.
pub(crate) struct Broker {
    /// `kafka` or `kringle`, as it is called in the report.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// API name to oldest and newest version.
    pub(crate) serves: BTreeMap<String, (i16, i16)>,
    /// Its cluster id.
    pub(crate) cluster: String,
}

/// A request that has been turned into bytes.
pub(crate) struct Encoded {
    /// API key.
    pub(crate) key: i16,
    /// Version in the header.
    pub(crate) version: i16,
    /// Version of the request header itself.
    pub(crate) header: i16,
    /// What follows the header.
    pub(crate) body: Bytes,
}

impl Broker {
    /// Asks a broker what it serves.
    pub(crate) fn meet(name: &'static str, address: &str) -> Result<Self, String> {
        let address = address
            .to_socket_addrs()
            .map_err(|e| format!("{name}: {address}: {e}"))?
            .next()
            .ok_or(format!("{name}: {address} is no address"))?;
        let mut broker = Self { name, address, serves: BTreeMap::new(), cluster: String::new() };
        let nothing = Value::Struct(Vec::new());
        let versions = broker.ask("ApiVersions", 0, &nothing)?;
        for row in member(&versions, "api_keys").map_or(&[][..], items) {
            let column = |name: &str| member(row, name).and_then(int).and_then(|n| i16::try_from(n).ok());
            if let (Some(key), Some(min), Some(max)) = (column("api_key"), column("min_version"), column("max_version"))
                && let Some(name) = apis::name(key)
            {
                broker.serves.insert(name.to_owned(), (min, max));
            }
        }
        let metadata = broker.ask("Metadata", 8, &Value::Struct(vec![("topics".into(), Value::Array(Vec::new()))]))?;
        broker.cluster = member(&metadata, "cluster_id").and_then(text).unwrap_or_default().to_owned();
        Ok(broker)
    }

    /// A request on a connection of its own, for what is not compared.
    fn ask(&self, api: &str, version: i16, body: &Value) -> Result<Value, String> {
        let mut connection = Connection::open(self.address)?;
        let encoded = Encoded::of(api, version, body)?;
        let correlation = encoded.send(&mut connection, Some(CLIENT));
        match connection.receive() {
            Reply::Frame(bytes) => read_answer(api, version, correlation, &bytes),
            other => Err(format!("{}: {api} v{version}: {other:?}", self.name)),
        }
    }
}

impl Encoded {
    /// Encodes a request; a body of bytes is taken as it is.
    pub(crate) fn of(api: &str, version: i16, body: &Value) -> Result<Self, String> {
        let key = apis::key(api).ok_or(format!("no API is called {api}"))?.into();
        let body = match body {
            Value::Bytes(bytes) => bytes.clone(),
            fields => apis::encode_request(api, version, fields)?,
        };
        Ok(Self { key, version, header: apis::request_header(api, version), body })
    }

    /// Sends it; returns the correlation id.
    pub(crate) fn send(&self, connection: &mut Connection, client: Option<&str>) -> i32 {
        let correlation = connection.next_correlation();
        connection.send(&frame(self.key, self.version, self.header, correlation, client, &self.body));
        correlation
    }
}

/// Reads a response frame: header, body to its last byte.
pub(crate) fn read_answer(api: &str, version: i16, correlation: i32, frame: &[u8]) -> Result<Value, String> {
    let (id, mut rest) = frame.split_first_chunk::<4>().ok_or("a frame without a header")?;
    if i32::from_be_bytes(*id) != correlation {
        return Err(format!("correlation id {} instead of {correlation}", i32::from_be_bytes(*id)));
    }
    if apis::response_header(api, version) >= 1 {
        rest = match rest.split_first() {
            Some((0, rest)) => rest,
            other => return Err(format!("tagged fields in a response header: {:?}", other.map(|(count, _)| count))),
        };
    }
    let (value, left) = apis::decode_response(api, version, Bytes::copy_from_slice(rest))?;
    if left > 0 { Err(format!("{left} bytes too many in the answer")) } else { Ok(value) }
}

/// Reads the answer to a request that was made by hand; what cannot be read is compared as bytes.
pub(crate) fn read_raw_answer(request: &[u8], frame: &[u8]) -> Value {
    let number = |at: usize| request.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let correlation = request.get(8..12).and_then(|four| four.try_into().ok()).map(i32::from_be_bytes);
    let read = || read_answer(apis::name(number(4)?)?, number(6)?, correlation?, frame).ok();
    read().unwrap_or_else(|| Value::Bytes(Bytes::copy_from_slice(frame)))
}
