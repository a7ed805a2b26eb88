//! Connections carry bytes both ways, whole, in order, under every way of sending and receiving.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod common;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::{World, any_port, on_each_driver, on_each_real_driver};
use kringle_runtime::{Open, Rt, Socket, channel};

/// A connected pair.
async fn pair(rt: &Rt) -> (Socket, Socket) {
    let listener = rt.listen(any_port()).unwrap();
    let client = rt.connect(listener.local_addr()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr());
    assert_eq!(client.peer_addr(), server.local_addr());
    (client, server)
}

async fn receive(socket: &Socket, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let chunk = socket.recv().await.unwrap();
        assert!(!chunk.is_empty(), "closed after {} of {len} bytes", bytes.len());
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from(i % 253).unwrap()).collect()
}

#[test]
fn an_echo_comes_back_as_it_was_sent() {
    on_each_driver(async |World { rt, .. }| {
        let (client, server) = pair(&rt).await;
        rt.spawn(async move {
            loop {
                let chunk = server.recv().await.unwrap();
                if chunk.is_empty() {
                    break;
                }
                server.send(vec![Bytes::copy_from_slice(&chunk)]).await.unwrap();
            }
        });
        for i in 0..200u32 {
            let message = i.to_be_bytes().repeat(10);
            client
                .send(vec![Bytes::copy_from_slice(&message[..7]), Bytes::copy_from_slice(&message[7..])])
                .await
                .unwrap();
            assert_eq!(receive(&client, message.len()).await, message);
        }
    });
}

#[test]
fn a_send_larger_than_the_socket_takes_arrives_whole() {
    on_each_driver(async |World { rt, overflow_bytes, .. }| {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(overflow_bytes);
        let bufs: Vec<Bytes> = bytes.chunks(7001).map(Bytes::copy_from_slice).collect();
        rt.spawn(async move { server.send(bufs).await.unwrap() });
        assert!(receive(&client, bytes.len()).await == bytes);
    });
}

#[test]
fn a_known_length_is_received_into_its_own_buffer_and_no_further() {
    on_each_driver(async |World { rt, .. }| {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(300_000);
        let sent = bytes.clone();
        rt.spawn(async move { server.send(vec![sent, Bytes::from_static(b"next")]).await.unwrap() });
        let mut buf = rt.frame_buf(bytes.len());
        while buf.remaining() > 0 {
            let (n, back) = client.recv_into(buf).await;
            buf = back;
            assert!(n.unwrap() > 0);
        }
        assert!(buf[..] == bytes);
        assert_eq!(receive(&client, 4).await, b"next");
    });
}

#[test]
fn a_receive_that_was_given_up_loses_no_bytes() {
    on_each_driver(async |World { rt, .. }| {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(100_000);
        let sent = bytes.clone();
        let ms = Duration::from_millis(1);
        let timer = rt.clone();
        rt.spawn(async move {
            for part in sent.chunks(5000) {
                timer.sleep(ms).await;
                server.send(vec![Bytes::copy_from_slice(part)]).await.unwrap();
            }
        });
        let mut received = Vec::new();
        let mut given_up = 0;
        while received.len() < bytes.len() {
            match rt.timeout(Duration::from_micros(100), client.recv()).await {
                Some(chunk) => received.extend_from_slice(&chunk.unwrap()),
                None => given_up += 1,
            }
            if given_up % 3 == 1 {
                let (n, buf) = client.recv_into(rt.frame_buf(777)).await;
                assert_eq!(n.unwrap(), buf.len());
                received.extend_from_slice(&buf);
            }
        }
        assert!(given_up > 0 && received == bytes);
    });
}

#[test]
fn a_closed_peer_is_an_empty_chunk_and_then_a_broken_send() {
    on_each_driver(async |World { rt, .. }| {
        let (client, server) = pair(&rt).await;
        server.send(vec![Bytes::from_static(b"bye")]).await.unwrap();
        drop(server);
        assert_eq!(receive(&client, 3).await, b"bye");
        assert!(client.recv().await.unwrap().is_empty());
        let failed = loop {
            match client.send(vec![Bytes::from_static(b"anyone?")]).await {
                Ok(()) => rt.yield_now().await,
                Err(e) => break e,
            }
        };
        assert!(matches!(failed.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{failed}");
    });
}

#[test]
fn shutdown_wakes_whoever_waits_to_receive() {
    on_each_driver(async |World { rt, .. }| {
        let (client, _server) = pair(&rt).await;
        let client = Rc::new(client);
        let waiting = Rc::clone(&client);
        let ended = Rc::new(RefCell::new(false));
        let flag = Rc::clone(&ended);
        rt.spawn(async move {
            *flag.borrow_mut() = waiting.recv().await.is_ok_and(|chunk| chunk.is_empty());
        });
        rt.yield_now().await;
        client.shutdown();
        while !*ended.borrow() {
            rt.sleep(Duration::from_micros(100)).await;
        }
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    on_each_driver(async |World { rt, .. }| {
        let listener = rt.listen(any_port()).unwrap();
        let addr = listener.local_addr();
        drop(listener);
        assert_eq!(rt.connect(addr).await.err().map(|e| e.kind()), Some(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn more_connections_than_shared_buffers_all_receive_while_every_chunk_is_kept() {
    on_each_real_driver(async |World { rt, .. }| {
        let mut pairs = Vec::new();
        for _ in 0..40 {
            pairs.push(pair(&rt).await);
        }
        let mut chunks = Vec::new();
        for (client, server) in &pairs {
            client.send(vec![pattern(100)]).await.unwrap();
            chunks.push(server.recv().await.unwrap());
        }
        assert!(chunks.iter().all(|chunk| chunk[..] == pattern(100)));
        drop(chunks);
        for (client, server) in &pairs {
            client.send(vec![pattern(100)]).await.unwrap();
            assert_eq!(receive(server, 100).await, pattern(100));
        }
    });
}

#[test]
fn file_bytes_go_out_without_a_copy_and_the_full_socket_says_so() {
    on_each_driver(async |World { rt, dir, overflow_bytes, .. }| {
        let (client, server) = pair(&rt).await;
        let bytes = pattern(overflow_bytes);
        let file = rt.fs().open(dir.join("a"), Open::CreateNew).unwrap();
        file.write_all_at(&mut [IoSlice::new(&bytes)], 0).unwrap();
        let total = bytes.len();
        let blocked = Rc::new(RefCell::new(0));
        let count = Rc::clone(&blocked);
        rt.spawn(async move {
            let mut sent = 0;
            while sent < total {
                match server.try_send_file(&file, sent as u64, total - sent) {
                    Ok(n) => sent += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        *count.borrow_mut() += 1;
                        server.writable().await.unwrap();
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            assert_eq!(server.try_send_file(&file, total as u64, 10).unwrap(), 0);
        });
        assert!(receive(&client, total).await == bytes);
        assert!(*blocked.borrow() > 0);
    });
}

#[test]
fn a_connection_moves_to_another_shard_and_lives_on() {
    on_each_driver(async |World { rt, host, .. }| {
        let (client, server) = pair(&rt).await;
        let (give, mut take) = channel(1);
        let other = host.start("other", 1, None, move |rt| {
            Box::pin(async move {
                let socket = rt.adopt(take.recv().await.unwrap());
                let bytes = receive(&socket, 5).await;
                socket.send(vec![Bytes::from(bytes), Bytes::from_static(b"!")]).await.unwrap();
            })
        });
        client.send(vec![Bytes::from_static(b"hello")]).await.unwrap();
        assert!(give.try_send(server.detach()).is_ok());
        assert_eq!(receive(&client, 6).await, b"hello!");
        rt.blocking(|_| other.unwrap().join().unwrap()).await;
    });
}

#[test]
fn a_wildcard_listener_takes_both_families_and_names_mapped_peers_as_ipv4() {
    on_each_real_driver(async |World { rt, .. }| {
        let listener = rt.listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().port();
        let client = rt.connect(format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr());
    });
}

#[test]
fn bytes_that_come_together_with_the_end_are_received_before_it() {
    on_each_real_driver(async |World { rt, .. }| {
        let listener = rt.listen(any_port()).unwrap();
        let addr = listener.local_addr();
        for _ in 0..50 {
            let client = std::net::TcpStream::connect(addr).unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let server = Rc::new(server);
            let waiting = Rc::clone(&server);
            let received = Rc::new(RefCell::new(Vec::new()));
            let all = Rc::clone(&received);
            let task = rt.spawn(async move {
                loop {
                    let chunk = waiting.recv().await.unwrap();
                    if chunk.is_empty() {
                        return;
                    }
                    all.borrow_mut().extend_from_slice(&chunk);
                }
            });
            // It waits when both arrive, while nothing else of this shard runs.
            rt.yield_now().await;
            rt.blocking(move |_| {
                std::io::Write::write_all(&mut &client, b"bye").unwrap();
                drop(client);
            })
            .await;
            let ended = rt.timeout(Duration::from_secs(10), async {
                while !task.is_finished() {
                    rt.sleep(Duration::from_micros(100)).await;
                }
            });
            assert!(ended.await.is_some(), "the end was not seen");
            assert_eq!(*received.borrow(), b"bye");
        }
    });
}

#[test]
fn a_connection_that_always_has_more_lets_the_others_have_their_turn() {
    on_each_real_driver(async |World { rt, .. }| {
        let (client, server) = pair(&rt).await;
        let len = 20 << 20;
        rt.spawn(async move { server.send(vec![pattern(len)]).await.unwrap() });
        let turns = Rc::new(Cell::new(0u64));
        let (neighbour, counted) = (rt.clone(), Rc::clone(&turns));
        let neighbour = rt.spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                neighbour.yield_now().await;
            }
        });
        let (mut received, mut since, mut seen) = (0, 0, 0);
        while received < len {
            let n = client.recv().await.unwrap().len();
            assert!(n > 0);
            received += n;
            since = if turns.get() == seen { since + n } else { n };
            seen = turns.get();
            assert!(since <= 256 << 10, "{since} bytes without a turn of its neighbour");
        }
        neighbour.cancel();
    });
}

#[test]
fn a_connection_that_has_waited_on_one_shard_wakes_only_the_one_it_moved_to() {
    on_each_real_driver(async |World { rt, host, .. }| {
        let listener = rt.listen(any_port()).unwrap();
        let addr = listener.local_addr();
        let (hello, said) = std::sync::mpsc::channel::<()>();
        let client = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut client = std::net::TcpStream::connect(addr).unwrap();
            client.set_nodelay(true).unwrap();
            said.recv().unwrap();
            for _ in 0..200 {
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
            }
        });
        let (server, _) = listener.accept().await.unwrap();
        let asks = rt.clone();
        rt.spawn(async move {
            asks.yield_now().await;
            hello.send(()).unwrap();
        });
        let first = server.recv().await.unwrap();
        assert_eq!(first[..], b"x"[..]);
        let (give, mut take) = channel(1);
        let before = rt.stats().completions;
        assert!(give.try_send(server.detach()).is_ok());
        let other = host.start("other", 1, None, move |rt| {
            Box::pin(async move {
                let socket = rt.adopt(take.recv().await.unwrap());
                for n in 1..=200 {
                    socket.send(vec![Bytes::from_static(b"y")]).await.unwrap();
                    assert!(n == 200 || socket.recv().await.unwrap().len() == 1);
                }
            })
        });
        rt.blocking(|_| other.unwrap().join().unwrap()).await;
        client.join().unwrap();
        let woken = rt.stats().completions - before;
        assert!(woken < 100, "woken {woken} times for 200 bytes that went elsewhere");
    });
}
