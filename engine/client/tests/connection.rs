//! Calls against a scripted broker in the simulator, over many seeds: small pipes, partial receives and any task order.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kringle_client::{ClientError, Connection, Versions};
use kringle_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, RequestHeader};
use kringle_protocol::messages::{FetchRequest, SaslAuthenticateRequest, SaslAuthenticateResponse};
use kringle_protocol::{ApiKey, Message, Reader, Writer, request_header_version, response_header_version};
use kringle_runtime::sim::Sim;
use kringle_runtime::{Rt, Socket};

/// What the scripted broker does with a request.
enum Act {
    /// Answers with this body.
    Answer(Bytes),
    /// Answers with the correlation id of another request.
    Misnumber,
    /// Announces an answer of this length and sends no more.
    Announce(i32),
    Ignore,
    Close,
}

type Script = fn(ApiKey, i16, Bytes) -> Act;

async fn serve(socket: Socket, script: Script) {
    let mut arrived = BytesMut::new();
    loop {
        let chunk = socket.recv().await.unwrap();
        if chunk.is_empty() {
            return;
        }
        arrived.extend_from_slice(&chunk);
        while arrived.len() >= 4 && arrived.len() - 4 >= usize::try_from(arrived.clone().get_i32()).unwrap() {
            let len = usize::try_from(arrived.get_i32()).unwrap();
            let frame = arrived.split_to(len).freeze();
            let (key, version) = (frame.clone().get_i16(), frame.slice(2..).get_i16());
            let api = ApiKey::from_i16(key).unwrap();
            let mut reader = Reader::new(frame.clone());
            let header = RequestHeader::decode(&mut reader, request_header_version(api, version)).unwrap();
            assert_eq!(header.client_id.as_deref(), Some("tester"));
            let body = frame.slice(reader.position()..);
            let (correlation_id, body) = match script(api, version, body) {
                Act::Answer(body) => (header.correlation_id, body),
                Act::Misnumber => (header.correlation_id + 1, Bytes::new()),
                Act::Announce(len) => {
                    socket
                        .send(vec![Bytes::copy_from_slice(&len.to_be_bytes()), Bytes::from_static(&[0; 4])])
                        .await
                        .unwrap();
                    continue;
                }
                Act::Ignore => continue,
                Act::Close => return,
            };
            let mut out = BytesMut::new();
            let tags = usize::from(response_header_version(api, version) == 1);
            out.put_i32(i32::try_from(4 + tags + body.len()).unwrap());
            out.put_i32(correlation_id);
            out.put_bytes(0, tags);
            out.extend_from_slice(&body);
            socket.send(vec![out.freeze()]).await.unwrap();
        }
    }
}

/// Runs `body` with a connection to the scripted broker, for several seeds.
fn with_broker<F>(script: Script, body: impl Fn(Rt, Connection) -> F + Copy + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let (broker, client) = (sim.node("broker"), sim.node("client"));
        let addr = SocketAddr::new(broker.ip(), 9092);
        let server = broker.host().start("broker", 0, None, move |rt| {
            Box::pin(async move {
                let listener = rt.listen(addr).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    rt.spawn(serve(socket, script));
                }
            })
        });
        server.unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let client = client.host().start("client", 0, None, move |rt| {
            Box::pin(async move {
                rt.sleep(Duration::from_millis(1)).await;
                let connection = Connection::open(&rt, addr, "tester").await.unwrap();
                body(rt, connection).await;
                flag.store(true, Ordering::Relaxed);
            })
        });
        client.unwrap();
        assert!(sim.run_until(Duration::from_secs(600), || ended.load(Ordering::Relaxed)), "seed {seed} hangs");
    }
}

fn bytes_of<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::default();
    message.encode(&mut writer, version).unwrap();
    writer.finish().0.freeze()
}

/// Echoes SASL bytes, which come in old and flexible versions.
fn echo(api: ApiKey, version: i16, body: Bytes) -> Act {
    assert_eq!(api, ApiKey::SASL_AUTHENTICATE);
    let request = SaslAuthenticateRequest::decode(&mut Reader::new(body), version).unwrap();
    let response = SaslAuthenticateResponse { auth_bytes: request.auth_bytes, ..Default::default() };
    Act::Answer(bytes_of(&response, version))
}

fn sasl(len: usize) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest { auth_bytes: Bytes::from(vec![7; len]) }
}

#[test]
fn pipelined_calls_get_their_own_answers_whatever_order_they_are_awaited_in() {
    with_broker(echo, async |_, connection| {
        let lens = [1, 100_000, 0, 17, 5000];
        let pending: Vec<_> = lens
            .iter()
            .zip([0, 1, 2, 2, 0])
            .map(|(len, version)| connection.begin(version, &sasl(*len)).unwrap())
            .collect();
        assert_eq!(connection.in_flight(), 5);
        for (answer, len) in pending.into_iter().zip(lens).rev() {
            assert_eq!(answer.await.unwrap().auth_bytes.len(), len);
        }
        assert_eq!(connection.in_flight(), 0);
    });
}

#[test]
fn an_answer_that_nobody_awaits_does_not_disturb_the_next() {
    with_broker(echo, async |_, connection| {
        drop(connection.begin(2, &sasl(9)).unwrap());
        assert_eq!(connection.call(2, &sasl(3)).await.unwrap().auth_bytes.len(), 3);
    });
}

#[test]
fn a_broker_that_closes_fails_everyone_who_waits_and_all_who_come_later() {
    with_broker(
        |_, _, _| Act::Close,
        async |_, connection| {
            let pending: Vec<_> = (0..3).map(|_| connection.begin(2, &sasl(9)).unwrap()).collect();
            for answer in pending {
                assert!(matches!(answer.await, Err(ClientError::Closed { .. })));
            }
            assert!(connection.is_closed());
            assert!(matches!(connection.begin(2, &sasl(9)).err(), Some(ClientError::Closed { .. })));
        },
    );
}

#[test]
fn wrong_numbers_and_impossible_lengths_close_the_connection() {
    let scripts: [Script; 3] =
        [|_, _, _| Act::Misnumber, |_, _, _| Act::Announce(i32::MAX), |_, _, _| Act::Announce(-1)];
    for script in scripts {
        with_broker(script, async |_, connection| {
            assert!(matches!(connection.call(2, &sasl(9)).await, Err(ClientError::Closed { .. })));
        });
    }
}

#[test]
fn an_answer_that_is_too_short_or_too_long_is_an_error_and_the_connection_lives() {
    let short: Script = |_, _, _| Act::Answer(Bytes::from_static(&[0, 0]));
    with_broker(short, async |_, connection| {
        assert!(matches!(connection.call(0, &sasl(1)).await, Err(ClientError::Decode { .. })));
        assert!(matches!(connection.call(0, &sasl(1)).await, Err(ClientError::Decode { .. })));
    });
    let long: Script = |_, version, _| {
        let mut body = BytesMut::from(&bytes_of(&SaslAuthenticateResponse::default(), version)[..]);
        body.put_u8(0);
        Act::Answer(body.freeze())
    };
    with_broker(long, async |_, connection| {
        assert!(matches!(connection.call(0, &sasl(1)).await, Err(ClientError::Trailing { bytes: 1, .. })));
    });
}

#[test]
fn a_broker_that_only_speaks_old_api_versions_is_understood() {
    let old: Script = |api, version, _| match (api, version) {
        (ApiKey::API_VERSIONS, 0) => {
            let range = |api: ApiKey, min_version, max_version| {
                let mut range = kringle_protocol::api_versions_response::ApiVersion::default();
                (range.api_key, range.min_version, range.max_version) = (api.into(), min_version, max_version);
                range
            };
            let api_keys = vec![range(ApiKey::METADATA, 2, 7), range(ApiKey::FETCH, 90, 99)];
            Act::Answer(bytes_of(&ApiVersionsResponse { api_keys, ..Default::default() }, 0))
        }
        (ApiKey::API_VERSIONS, _) => {
            Act::Answer(bytes_of(&ApiVersionsResponse { error_code: 35, ..Default::default() }, 0))
        }
        _ => Act::Ignore,
    };
    with_broker(old, async |_, connection| {
        let versions = Versions::ask(&connection).await.unwrap();
        assert_eq!(versions.best::<MetadataRequest>().unwrap(), 7);
        assert!(matches!(versions.best::<FetchRequest>(), Err(ClientError::NoCommonVersion { .. })));
        assert!(matches!(versions.best::<ApiVersionsRequest>(), Err(ClientError::NoCommonVersion { .. })));
    });
}

#[test]
fn dropping_the_connection_ends_its_tasks_and_closes_it() {
    with_broker(
        |_, _, _| Act::Ignore,
        async |rt, connection| {
            let pending = connection.begin(2, &sasl(9)).unwrap();
            let clone = connection.clone();
            drop(connection);
            assert!(!clone.is_closed());
            drop(clone);
            assert!(matches!(pending.await, Err(ClientError::Closed { .. })));
            assert_eq!(rt.stats().tasks, 1);
        },
    );
}

#[test]
fn nobody_at_the_address_is_said_with_the_address() {
    with_broker(echo, async |rt, connection| {
        let addr = SocketAddr::new(connection.peer_addr().ip(), 1);
        let failed = Connection::open(&rt, addr, "tester").await.err().unwrap();
        assert!(failed.to_string().contains("10.0.0.1:1"), "{failed}");
    });
}
