//! One connection to a broker.
//!
//! Two tasks of the shard that opened it serve it: one sends what calls have queued, one receives answers and hands each to the
//! oldest request that waits. Both end with the last clone of the connection. When one fails, every waiting and every
//! later call gets the cause.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use kringle_protocol::messages::RequestHeader;
use kringle_protocol::messages::ResponseHeader;
use kringle_protocol::{ApiKey, EncodeError, Message, Reader, Request, Writer};
use kringle_protocol::{request_header_version, response_header_version};
use kringle_runtime::{Answer, Reply, Rt, Socket, TaskHandle, oneshot};

use crate::error::ClientError;

/// Answers above this are taken for garbage; Kafka's consumers ask for at most 50 MiB, but one batch may be larger.
pub const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// A request on its way.
struct Waiting {
    correlation_id: i32,
    reply: Reply<Bytes>,
}

struct Inner {
    socket: Socket,
    client_id: String,
    next_correlation_id: Cell<i32>,
    outgoing: RefCell<Vec<Bytes>>,
    sender: RefCell<Option<Waker>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Why the connection is of no use any more.
    broken: RefCell<Option<String>>,
}

impl Inner {
    fn closed(&self) -> ClientError {
        let cause = self.broken.borrow().clone().unwrap_or_else(|| "closed".to_owned());
        ClientError::Closed { addr: self.socket.peer_addr(), cause }
    }

    /// Everyone who waits gets no answer; dropping the replies tells them.
    fn fail(&self, cause: String) {
        self.broken.borrow_mut().get_or_insert(cause);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(waiting);
        self.outgoing.borrow_mut().clear();
        self.socket.shutdown();
    }

    async fn send_all(&self) {
        loop {
            let bufs = poll_fn(|cx| {
                let bufs = std::mem::take(&mut *self.outgoing.borrow_mut());
                if bufs.is_empty() {
                    *self.sender.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(bufs)
            })
            .await;
            if let Err(e) = self.socket.send(bufs).await {
                return self.fail(e.to_string());
            }
        }
    }

    async fn receive_all(&self) {
        let mut arrived = BytesMut::new();
        loop {
            match self.socket.recv().await {
                Err(e) => return self.fail(e.to_string()),
                Ok(chunk) if chunk.is_empty() => return self.fail("closed by the broker".to_owned()),
                Ok(chunk) => arrived.extend_from_slice(&chunk),
            }
            if let Err(cause) = self.take_answers(&mut arrived) {
                return self.fail(cause);
            }
        }
    }

    /// Hands out the answers that have arrived whole.
    fn take_answers(&self, arrived: &mut BytesMut) -> Result<(), String> {
        while arrived.len() >= 8 {
            let announced = arrived.get(..4).map(|mut length| length.get_i32()).unwrap_or_default();
            let len = usize::try_from(announced).map_err(|_| format!("an answer of {announced} bytes"))?;
            if !(4..=MAX_RESPONSE_BYTES).contains(&len) {
                return Err(format!("an answer of {len} bytes"));
            }
            if arrived.len() - 4 < len {
                break;
            }
            arrived.advance(4);
            let frame = arrived.split_to(len).freeze();
            let correlation_id = frame.clone().get_i32();
            let waiting = self.waiting.borrow_mut().pop_front().ok_or("an answer to no request")?;
            if waiting.correlation_id != correlation_id {
                return Err(format!("answer {correlation_id} where {} was next", waiting.correlation_id));
            }
            waiting.reply.send(frame);
        }
        Ok(())
    }
}

/// What the clones of a connection share: with the last of them its tasks end and its calls fail.
struct Shared {
    inner: Rc<Inner>,
    tasks: [TaskHandle; 2],
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.cancel();
        }
        self.inner.fail("closed here".to_owned());
    }
}

/// A connection to a broker. Clones share it; it closes with the last.
#[derive(Clone)]
pub struct Connection {
    shared: Rc<Shared>,
}

impl Connection {
    /// Connects. `client_id` is what quotas and logs of the broker know us by.
    pub async fn open(rt: &Rt, addr: SocketAddr, client_id: &str) -> Result<Connection, ClientError> {
        let socket = rt.connect(addr).await.map_err(|source| ClientError::Connect { addr, source })?;
        let inner = Rc::new(Inner {
            socket,
            client_id: client_id.to_owned(),
            next_correlation_id: Cell::new(0),
            outgoing: RefCell::default(),
            sender: RefCell::default(),
            waiting: RefCell::default(),
            broken: RefCell::default(),
        });
        let (sending, receiving) = (Rc::clone(&inner), Rc::clone(&inner));
        let sender = rt.spawn(async move { sending.send_all().await });
        let receiver = rt.spawn(async move { receiving.receive_all().await });
        Ok(Connection { shared: Rc::new(Shared { inner, tasks: [sender, receiver] }) })
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, ClientError> {
        self.begin(version, request)?.await
    }

    /// Sends a request now; the answer may be awaited later, in any order. Not awaiting it discards it.
    pub fn begin<R: Request>(&self, version: i16, request: &R) -> Result<Pending<R::Response>, ClientError> {
        let body = Connection::encode(version, request)?;
        let bytes = self.begin_bytes(R::API_KEY, version, body)?;
        Ok(Pending { bytes, response: PhantomData })
    }

    /// Sends a request that is never answered (Produce with acks=0).
    pub fn send_only<R: Request>(&self, version: i16, request: &R) -> Result<(), ClientError> {
        let body = Connection::encode(version, request)?;
        self.queue(R::API_KEY, version, &[body]).map(drop)
    }

    /// Sends the bytes of a request's body and waits for those of the answer's body.
    pub async fn call_bytes(&self, api: ApiKey, version: i16, body: Bytes) -> Result<Bytes, ClientError> {
        self.begin_bytes(api, version, body)?.await
    }

    /// As [`Connection::begin`], for a body that is encoded already.
    pub fn begin_bytes(&self, api: ApiKey, version: i16, body: Bytes) -> Result<PendingBytes, ClientError> {
        let correlation_id = self.queue(api, version, &[body])?;
        let (reply, answer) = oneshot();
        self.shared.inner.waiting.borrow_mut().push_back(Waiting { correlation_id, reply });
        Ok(PendingBytes { inner: Rc::clone(&self.shared.inner), answer, api, version })
    }

    /// The bytes of a request's body.
    pub fn encode<R: Request>(version: i16, request: &R) -> Result<Bytes, ClientError> {
        let failed = |source| ClientError::Encode { api: R::API_KEY, version, source };
        let mut writer = Writer::default();
        request.encode(&mut writer, version).map_err(failed)?;
        let (body, cuts) = writer.finish();
        assert!(cuts.is_empty(), "a request carries its records itself");
        Ok(body.freeze())
    }

    /// The broker's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.shared.inner.socket.peer_addr()
    }

    /// Whether it has broken, or the broker has closed it.
    pub fn is_closed(&self) -> bool {
        self.shared.inner.broken.borrow().is_some()
    }

    /// Requests that wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.shared.inner.waiting.borrow().len()
    }

    /// Puts length, header and body into the queue of the sending task.
    fn queue(&self, api: ApiKey, version: i16, body: &[Bytes]) -> Result<i32, ClientError> {
        let inner = &self.shared.inner;
        if self.is_closed() {
            return Err(inner.closed());
        }
        let failed = |source| ClientError::Encode { api, version, source };
        let correlation_id = inner.next_correlation_id.get();
        inner.next_correlation_id.set(correlation_id.wrapping_add(1));
        let header = RequestHeader {
            request_api_key: api.into(),
            request_api_version: version,
            correlation_id,
            client_id: Some(inner.client_id.clone()),
        };
        let mut writer = Writer::default();
        writer.i32(0);
        header.encode(&mut writer, request_header_version(api, version)).map_err(failed)?;
        let (mut head, _) = writer.finish();
        let len = head.len() - 4 + body.iter().map(Bytes::len).sum::<usize>();
        let len = i32::try_from(len).map_err(|_| failed(EncodeError::TooLong))?;
        head[..4].copy_from_slice(&len.to_be_bytes());
        let mut outgoing = inner.outgoing.borrow_mut();
        outgoing.push(head.freeze());
        outgoing.extend(body.iter().cloned());
        drop(outgoing);
        if let Some(sender) = inner.sender.borrow_mut().take() {
            sender.wake();
        }
        Ok(correlation_id)
    }
}

/// An answer that will come.
#[must_use = "the answer is discarded unless awaited"]
pub struct Pending<T> {
    bytes: PendingBytes,
    response: PhantomData<fn() -> T>,
}

impl<T: Message> Future for Pending<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (api, version) = (self.bytes.api, self.bytes.version);
        Pin::new(&mut self.bytes).poll(cx).map(|bytes| {
            let mut reader = Reader::with_memory_limit(bytes?, MAX_RESPONSE_BYTES);
            let decoded = T::decode(&mut reader, version);
            let response = decoded.map_err(|source| ClientError::Decode { api, version, source })?;
            match reader.remaining() {
                0 => Ok(response),
                bytes => Err(ClientError::Trailing { api, version, bytes }),
            }
        })
    }
}

/// The bytes of an answer's body that will come.
#[must_use = "the answer is discarded unless awaited"]
pub struct PendingBytes {
    inner: Rc<Inner>,
    answer: Answer<Bytes>,
    api: ApiKey,
    version: i16,
}

impl Future for PendingBytes {
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (api, version) = (self.api, self.version);
        Pin::new(&mut self.answer).poll(cx).map(|frame| {
            let frame = frame.ok_or_else(|| self.inner.closed())?;
            let mut reader = Reader::new(frame.clone());
            ResponseHeader::decode(&mut reader, response_header_version(api, version))
                .map_err(|source| ClientError::Decode { api, version, source })?;
            Ok(frame.slice(reader.position()..))
        })
    }
}
