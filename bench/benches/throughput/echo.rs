//! The same echo server on the engine's ring, on epoll with plain system calls written by hand, on the engine's own driver of
//! system calls, and on tokio-uring.
//!
//! Each server is one thread that sends back what it receives on any number of connections. The client is the same for
//! all: this thread, with blocking sockets; it sends 100 bytes on every connection and then takes all of them back. Its
//! CPU time is taken off. So the columns differ by the server's driver alone.

mod engine;
mod epoll;
mod tokio_uring;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use kringle_bench::throughput::{Amount, CpuOf};
use kringle_runtime::IoDriver;

use crate::meter::Meter;

const MESSAGE_BYTES: usize = 100;
/// What a server's connection receives at once.
const BUFFER_BYTES: usize = 4096;

/// Starts a server for so many connections; it ends when all of them are closed.
type Start = fn(usize) -> SocketAddr;

pub(crate) fn rows(meter: &mut Meter) {
    let servers: [(&str, Start); 4] = [
        ("ring", |connections| engine::start(IoDriver::Ring, connections)),
        ("syscalls", epoll::start),
        ("engine on syscalls", |connections| engine::start(IoDriver::Syscall, connections)),
        ("tokio-uring", tokio_uring::start),
    ];
    for count in [1, 16, 256] {
        let case = format!("100 B there and back on each of {count} connections");
        for (way, start) in servers {
            let mut clients: Vec<TcpStream> = Vec::new();
            let amount = Amount::Operations(count as u64);
            meter.row(["echo over loopback", &case, way], amount, CpuOf::Server, |iterations, watch| {
                if clients.is_empty() {
                    clients = connect(start(count), count);
                }
                watch.time(|| (0..iterations).for_each(|_| round(&mut clients)));
            });
        }
    }
}

fn connect(server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let socket = TcpStream::connect(server).expect("the server listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket
    };
    (0..count).map(connect).collect()
}

fn round(clients: &mut [TcpStream]) {
    let message = [7; MESSAGE_BYTES];
    for client in &mut *clients {
        client.write_all(&message).expect("the server receives");
    }
    let mut answer = [0; MESSAGE_BYTES];
    for client in clients {
        client.read_exact(&mut answer).expect("the server answers");
        assert_eq!(answer, message);
    }
}
