//! A connection for fetches alone: one request at a time, answers received where they are read.
//!
//! Answers of megabytes are what a consumer is about. [`kringle_client::Connection`] gathers answers from small shared buffers,
//! which suits many short ones; here the kernel writes a whole answer into one buffer, which halves what a fetched byte costs
//! us. Nothing else is under way on the connection, so that what arrives belongs to the answer. A call that is dropped
//! halfway leaves the connection useless.

use std::cell::Cell;
use std::net::SocketAddr;

use kringle_client::{ClientError, MAX_RESPONSE_BYTES};
use kringle_protocol::messages::{FetchRequest, FetchResponse, ResponseHeader};
use kringle_protocol::{ApiKey, Bytes, DecodeError, Message, Reader, response_header_version};
use kringle_runtime::{Rt, Socket};

use crate::frames::{LENGTH_BYTES, frame};

const API: ApiKey = ApiKey::FETCH;
/// The first answer is received into this much.
const FIRST_BYTES: usize = 64 << 10;

/// A connection to one broker.
pub(crate) struct FetchLink {
    rt: Rt,
    socket: Socket,
    next_correlation_id: Cell<i32>,
    /// What the last answer took; the next is likely to take as much.
    expected_bytes: Cell<usize>,
}

impl FetchLink {
    pub(crate) async fn open(rt: &Rt, addr: SocketAddr) -> Result<FetchLink, ClientError> {
        let socket = rt.connect(addr).await.map_err(|source| ClientError::Connect { addr, source })?;
        Ok(FetchLink {
            rt: rt.clone(),
            socket,
            next_correlation_id: Cell::new(0),
            expected_bytes: Cell::new(FIRST_BYTES),
        })
    }

    /// Fetches. Records of the answer are slices of the buffer that it was received into.
    pub(crate) async fn call(&self, version: i16, request: &FetchRequest) -> Result<FetchResponse, ClientError> {
        let correlation_id = self.next_correlation_id.get();
        self.next_correlation_id.set(correlation_id.wrapping_add(1));
        let encoded = frame(version, correlation_id, request);
        let encoded = encoded.map_err(|source| ClientError::Encode { api: API, version, source })?;
        self.socket.send(vec![encoded]).await.map_err(|error| self.broken(&error.to_string()))?;
        let answer = self.receive().await?;
        let mut reader = Reader::with_memory_limit(answer, MAX_RESPONSE_BYTES);
        let decoded = decode(&mut reader, version, response_header_version(API, version));
        let (answered, response) = decoded.map_err(|source| ClientError::Decode { api: API, version, source })?;
        if answered == correlation_id { Ok(response) } else { Err(self.broken("the answer to another request")) }
    }

    /// The next frame, without its length.
    async fn receive(&self) -> Result<Bytes, ClientError> {
        let mut buf = self.rt.frame_buf(self.expected_bytes.get());
        loop {
            let (received, mut filled) = self.socket.recv_into(buf).await;
            if received.map_err(|error| self.broken(&error.to_string()))? == 0 {
                return Err(self.broken("closed by the broker"));
            }
            let Some(length) = filled.first_chunk::<LENGTH_BYTES>() else {
                buf = filled;
                continue;
            };
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > MAX_RESPONSE_BYTES {
                return Err(self.broken("an answer of an impossible length"));
            }
            let whole = LENGTH_BYTES + length;
            if filled.len() >= whole {
                self.expected_bytes.set(whole.max(FIRST_BYTES));
                return Ok(filled.freeze().slice(LENGTH_BYTES..whole));
            }
            if filled.capacity() < whole {
                let mut larger = self.rt.frame_buf(whole);
                larger.extend_from_slice(&filled);
                filled = larger;
            }
            buf = filled;
        }
    }

    fn broken(&self, cause: &str) -> ClientError {
        ClientError::Closed { addr: self.socket.peer_addr(), cause: cause.to_owned() }
    }
}

fn decode(reader: &mut Reader, version: i16, header_version: i16) -> Result<(i32, FetchResponse), DecodeError> {
    let header = ResponseHeader::decode(reader, header_version)?;
    Ok((header.correlation_id, FetchResponse::decode(reader, version)?))
}
