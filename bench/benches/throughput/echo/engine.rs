//! The echo server on the engine, with either of its drivers.

use std::net::SocketAddr;
use std::sync::mpsc;

use bytes::Bytes;
use kringle_runtime::{IoDriver, LocalBoxFuture, Rt};

use crate::ground::host_on;

pub(super) fn start(driver: IoDriver, connections: usize) -> SocketAddr {
    let host = host_on(driver);
    let (tell, told) = mpsc::channel();
    let main = move |rt: Rt| -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let listener = rt.listen(([127, 0, 0, 1], 0).into()).expect("a free port");
            tell.send(listener.local_addr()).expect("the starter waits");
            let mut tasks = Vec::new();
            for _ in 0..connections {
                let (socket, _) = listener.accept().await.expect("accepts");
                let (reply, ended) = kringle_runtime::oneshot();
                rt.spawn(async move {
                    while let Ok(chunk) = socket.recv().await {
                        if chunk.is_empty() || socket.send(vec![Bytes::copy_from_slice(&chunk)]).await.is_err() {
                            break;
                        }
                    }
                    reply.send(());
                });
                tasks.push(ended);
            }
            for ended in tasks {
                ended.await.expect("the task does not panic");
            }
        })
    };
    host.start("echo", 0, None, main).expect("a thread and a driver");
    told.recv().expect("the server listens")
}
