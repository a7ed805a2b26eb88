//! The echo server as one writes it without io_uring: level-triggered epoll, read and write.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen};

use super::BUFFER_BYTES;

/// Ready connections taken with one call.
const EVENTS: usize = 256;
const BACKLOG: i32 = 1024;

pub(super) fn start(connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // std asks for a backlog of 128: a client that connects faster would wait a second for its second try.
    listen(&listener, Backlog::new(BACKLOG).expect("a small number")).expect("a listening socket");
    let addr = listener.local_addr().expect("bound");
    let serve = move || serve(&listener, connections);
    std::thread::Builder::new().name("echo".to_owned()).spawn(serve).expect("a thread");
    addr
}

fn serve(listener: &TcpListener, connections: usize) {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let mut sockets: Vec<Option<TcpStream>> = Vec::new();
    for n in 0..connections {
        let (socket, _) = listener.accept().expect("accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_nonblocking(true).expect("a TCP socket");
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, n as u64)).expect("watched");
        sockets.push(Some(socket));
    }
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut open = connections;
    while open > 0 {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..ready] {
            let at = usize::try_from(event.data()).expect("as it was added");
            let Some(socket) = &mut sockets[at] else { continue };
            if !echo(socket) {
                // Closing takes it out of the epoll.
                sockets[at] = None;
                open -= 1;
            }
        }
    }
}

/// Sends back what has arrived; false when the connection has ended. The client waits for its answer before it sends more,
/// so an answer always fits into the socket.
fn echo(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; BUFFER_BYTES];
    match socket.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => socket.write_all(&buffer[..n]).is_ok(),
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}
