//! The requests: one file per API or small family. Each parses, asks the owner of what it is about, and answers.
//!
//! [`Request::parse`] reads the header, [`handle`] finds the API. What Kafka does not answer (an unknown API, a version
//! it does not have, bytes that do not decode) closes the connection.

pub(crate) mod admin;
pub(crate) mod api_versions;
pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod log_dirs;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod producers;
pub(crate) mod sasl;
pub(crate) mod topic_partitions;

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use kringle_protocol::messages::RequestHeader;
use kringle_protocol::{ApiKey, DecodeError, EncodeError, Message, Reader, request_header_version};

use crate::net::connection::Connection;
use crate::net::response::{FileSlices, Response};
use crate::node::ListenerId;
use crate::shard::Shard;

/// How many times its size on the wire a request may take once decoded...
const DECODED_TIMES: usize = 8;

/// ...but never more than this above its size: what is larger is mostly records, which are not copied...
const DECODED_EXTRA_BYTES: usize = 64 << 20;

/// ...and this is granted to any, so that lists of short names pass.
const DECODED_GRANTED_BYTES: usize = 1 << 20;

/// Partitions of a request from which on they are looked up by hash, not by a look at each.
const HASHED_FROM: usize = 8;

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    #[error("API {0} is not served")]
    UnknownApi(i16),
    #[error("{api} version {version} is not served")]
    UnknownVersion { api: ApiKey, version: i16 },
    #[error("undecodable request: {0}")]
    Decode(#[from] DecodeError),
    #[error("unencodable answer: {0}")]
    Encode(#[from] EncodeError),
    #[error("a produce with acks=0 failed")]
    AcksZeroFailed,
    #[error("send failed: {0}")]
    Send(std::io::Error),
}

/// A request whose header is read.
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// Empty where the client sent null, as Kafka has it.
    pub(crate) client_id: String,
    pub(crate) body: Reader,
}

impl Request {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// An API or version that this listener does not serve (but for ApiVersions, which answers that), or a header that does not decode.
    pub(crate) fn parse(frame: Bytes, listener: ListenerId) -> Result<Request, Close> {
        let mut peek = Reader::new(frame.clone());
        let (key, version) = (peek.i16()?, peek.i16()?);
        let served = |key: &ApiKey| api_versions::is_served(*key, listener);
        let api = ApiKey::from_i16(key).filter(served).ok_or(Close::UnknownApi(key))?;
        if !api_versions::serves(api, version) && api != ApiKey::API_VERSIONS {
            return Err(Close::UnknownVersion { api, version });
        }
        let limit = decoded_limit(frame.len());
        let mut body = Reader::with_memory_limit(frame, limit);
        let header = RequestHeader::decode(&mut body, request_header_version(api, version))?;
        let client_id = header.client_id.unwrap_or_default();
        Ok(Request { key: api, version, correlation_id: header.correlation_id, client_id, body })
    }
}

/// Memory that a request's arrays and strings may take once decoded: a frame of empty strings grows some thirty times.
fn decoded_limit(frame_bytes: usize) -> usize {
    let grown = frame_bytes.saturating_mul(DECODED_TIMES).min(frame_bytes.saturating_add(DECODED_EXTRA_BYTES));
    grown.saturating_add(DECODED_GRANTED_BYTES)
}

/// What a handler knows of its request besides the body.
pub(crate) struct Context {
    pub(crate) shard: Rc<Shard>,
    pub(crate) connection: Rc<Connection>,
    pub(crate) version: i16,
    pub(crate) client_id: String,
}

/// Works on one request to its answer.
///
/// # Errors
/// What closes the connection.
pub(crate) async fn handle(connection: &Rc<Connection>, request: Request) -> Result<Response, Close> {
    macro_rules! call {
        ($handler:expr) => {
            Box::pin(answer(connection, request, $handler)).await
        };
    }
    match request.key {
        ApiKey::API_VERSIONS => api_versions::answer(connection, request),
        ApiKey::FETCH => match fetch::start(connection, request)? {
            fetch::Started::Answered(response) => Ok(response),
            fetch::Started::Waits(waiting) => Box::pin(waiting.answer(connection)).await,
        },
        ApiKey::METADATA => call!(metadata::handle),
        ApiKey::LIST_OFFSETS => call!(list_offsets::handle),
        ApiKey::INIT_PRODUCER_ID => call!(init_producer_id::handle),
        ApiKey::OFFSET_FOR_LEADER_EPOCH => call!(offset_for_leader_epoch::handle),
        ApiKey::DELETE_RECORDS => call!(delete_records::handle),
        ApiKey::FIND_COORDINATOR => call!(groups::find_coordinator),
        ApiKey::JOIN_GROUP => call!(groups::join),
        ApiKey::SYNC_GROUP => call!(groups::sync),
        ApiKey::HEARTBEAT => call!(groups::heartbeat),
        ApiKey::LEAVE_GROUP => call!(groups::leave),
        ApiKey::DESCRIBE_GROUPS => call!(groups::describe),
        ApiKey::LIST_GROUPS => call!(groups::list),
        ApiKey::DELETE_GROUPS => call!(groups::delete),
        ApiKey::OFFSET_COMMIT => call!(offsets::commit),
        ApiKey::OFFSET_FETCH => call!(offsets::fetch),
        ApiKey::OFFSET_DELETE => call!(offsets::delete),
        ApiKey::CREATE_TOPICS => call!(admin::create_topics),
        ApiKey::DELETE_TOPICS => call!(admin::delete_topics),
        ApiKey::CREATE_PARTITIONS => call!(admin::create_partitions),
        ApiKey::DESCRIBE_CONFIGS => call!(configs::handle),
        ApiKey::LIST_CONFIG_RESOURCES => call!(configs::list_resources),
        ApiKey::ALTER_CONFIGS => call!(admin::alter_configs),
        ApiKey::INCREMENTAL_ALTER_CONFIGS => call!(admin::incremental_alter_configs),
        ApiKey::DESCRIBE_LOG_DIRS => call!(log_dirs::handle),
        ApiKey::DESCRIBE_CLUSTER => call!(cluster::describe_cluster),
        ApiKey::LIST_PARTITION_REASSIGNMENTS => call!(cluster::list_reassignments),
        ApiKey::ELECT_LEADERS => call!(cluster::elect_leaders),
        ApiKey::ALTER_PARTITION_REASSIGNMENTS => call!(cluster::alter_reassignments),
        ApiKey::DESCRIBE_QUORUM => call!(admin::describe_quorum),
        ApiKey::UPDATE_FEATURES => call!(admin::update_features),
        ApiKey::SASL_HANDSHAKE => call!(sasl::handshake),
        ApiKey::SASL_AUTHENTICATE => call!(sasl::authenticate),
        ApiKey::DESCRIBE_PRODUCERS => call!(producers::handle),
        ApiKey::DESCRIBE_TOPIC_PARTITIONS => call!(topic_partitions::handle),
        key => Err(Close::UnknownApi(key.into())),
    }
}

/// Decodes a request, calls its handler, encodes the answer.
async fn answer<Q, F, Fut>(connection: &Rc<Connection>, mut request: Request, handler: F) -> Result<Response, Close>
where
    Q: kringle_protocol::Request,
    F: FnOnce(Context, Q) -> Fut,
    Fut: Future<Output = Q::Response>,
{
    let Request { key, version, correlation_id, .. } = request;
    let body = Q::decode(&mut request.body, version)?;
    let context = Context {
        shard: connection.shard.clone(),
        connection: connection.clone(),
        version,
        client_id: request.client_id,
    };
    let response = handler(context, body).await;
    let room = connection.shard.take_answer_room();
    Ok(Response::encode(room, key, version, correlation_id, &response, FileSlices::new())?)
}
