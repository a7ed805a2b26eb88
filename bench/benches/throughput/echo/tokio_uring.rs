//! The echo server on tokio-uring, as its own examples are written.

use std::net::SocketAddr;
use std::sync::mpsc;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpListener;

use super::BUFFER_BYTES;
use crate::append_loops::on_tokio_uring;

pub(super) fn start(connections: usize) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    let serve = move || on_tokio_uring(serve(connections, tell));
    std::thread::Builder::new().name("echo".to_owned()).spawn(serve).expect("a thread");
    told.recv().expect("the server listens")
}

async fn serve(connections: usize, tell: mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    tell.send(listener.local_addr().expect("bound")).expect("the starter waits");
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (stream, _) = listener.accept().await.expect("accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        tasks.push(tokio_uring::spawn(async move {
            let mut buffer = vec![0; BUFFER_BYTES];
            loop {
                let (read, filled) = stream.read(buffer).await;
                let Some(n) = read.ok().filter(|n| *n > 0) else { break };
                let (sent, rest) = stream.write_all(filled.slice(..n)).await;
                if sent.is_err() {
                    break;
                }
                buffer = rest.into_inner();
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task does not panic");
    }
}
