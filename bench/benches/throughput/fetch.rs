//! From a segment's file into a socket: the ways a fetch can be answered.
//!
//! `copy` reads into memory and writes (pread, write), `sendfile` and `splice` move pages of the page cache, `ring read` reads
//! through the ring into a pooled buffer and sends that, and `asked for` is what the broker does for ranges that are not cached: ask
//! the disk for them, wait on the ring for the end, sendfile. The server is a thread with one connection over loopback; this thread
//! takes the bytes and throws them away.

use std::fs::File as StdFile;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kringle_bench::throughput::CpuOf;
use kringle_runtime::{File, Open, Rt};
use nix::fcntl::{PosixFadviseAdvice, SpliceFFlags, posix_fadvise, splice};
use nix::sys::sendfile::sendfile64;

use crate::batches::{amount, noise};
use crate::ground::Ground;
use crate::meter::{Meter, rounds};
use crate::shard::{Shard, finished};

const FILE_BYTES: usize = 128 << 20;
/// What the client reads at once.
const CLIENT_BUFFER_BYTES: usize = 256 << 10;
const WAYS: [Way; 5] = [Way::Copy, Way::Sendfile, Way::Splice, Way::RingRead, Way::AskedFor];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copy,
    Sendfile,
    Splice,
    RingRead,
    AskedFor,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Copy => "copy",
            Way::Sendfile => "sendfile",
            Way::Splice => "splice",
            Way::RingRead => "ring read",
            Way::AskedFor => "asked for",
        }
    }
}

/// Slices of the file that follow each other, from the front again when the file ends.
#[derive(Clone, Copy)]
struct Slices {
    len: usize,
    count: u64,
}

impl Slices {
    fn positions(self) -> impl Iterator<Item = usize> {
        (0..self.count).zip((0..FILE_BYTES / self.len).cycle()).map(move |(_, at)| at * self.len)
    }

    fn bytes(self) -> u64 {
        self.count * self.len as u64
    }
}

pub(crate) fn rows(meter: &mut Meter, ground: &Ground) {
    let place = ground.home();
    let path = place.dir.join("segment");
    let shard = Shard::start(&ground.host);
    for (name, len, cold) in [("64 KiB", 64 << 10, false), ("1 MiB", 1 << 20, false), ("1 MiB", 1 << 20, true)] {
        let state = if cold { format!("cold, {}", place.filesystem) } else { "cached".to_owned() };
        let case = format!("slices of {name}, {state}");
        for way in WAYS {
            meter.row(["log fetch", &case, way.name()], amount(len), CpuOf::Server, |iterations, watch| {
                if !path.exists() {
                    make_file(&path);
                }
                // A cold file is cold once.
                let most = if cold { (FILE_BYTES / len) as u64 } else { u64::MAX };
                for count in rounds(iterations, most) {
                    if cold {
                        drop_from_cache(&path);
                    }
                    let slices = Slices { len, count };
                    match way {
                        Way::RingRead | Way::AskedFor => {
                            let file = ground.fs().open(&path, Open::Read).expect("made above");
                            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                            let addr = listener.local_addr().expect("bound");
                            let served = shard.begin(async move |rt| on_shard(&rt, way, addr, &file, slices).await);
                            let (mut client, _) = listener.accept().expect("connected");
                            watch.time(|| drain(&mut client, slices.bytes()));
                            finished(served);
                        }
                        _ => std::thread::scope(|scope| {
                            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                            let addr = listener.local_addr().expect("bound");
                            let path = &path;
                            scope.spawn(move || plain(way, addr, path, slices));
                            let (mut client, _) = listener.accept().expect("connected");
                            watch.time(|| drain(&mut client, slices.bytes()));
                        }),
                    }
                }
            });
        }
    }
    // It is not there if the filter left all of these rows out.
    drop(std::fs::remove_file(&path));
}

fn make_file(path: &Path) {
    std::fs::write(path, noise(FILE_BYTES)).expect("written");
    // Dirty pages cannot be dropped from the cache.
    StdFile::open(path).and_then(|file| file.sync_all()).expect("synced");
}

fn drop_from_cache(path: &Path) {
    let file = StdFile::open(path).expect("made before");
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("every filesystem takes this");
}

fn drain(client: &mut TcpStream, bytes: u64) {
    let mut buffer = vec![0; CLIENT_BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let n = client.read(&mut buffer).expect("the server sends on");
        assert!(n > 0, "the server closed {left} bytes too early");
        left -= n as u64;
    }
}

/// The server on plain system calls.
fn plain(way: Way, client: SocketAddr, path: &Path, slices: Slices) {
    let mut socket = TcpStream::connect(client).expect("the client listens");
    socket.set_nodelay(true).expect("a TCP socket");
    let file = StdFile::open(path).expect("made before");
    let mut buffer = vec![0; slices.len];
    let (from_pipe, to_pipe) = nix::unistd::pipe().expect("a pipe");
    for position in slices.positions() {
        let end = position + slices.len;
        let mut offset = i64::try_from(position).expect("a file of a bench");
        match way {
            Way::Copy => {
                file.read_exact_at(&mut buffer, position as u64).expect("inside the file");
                socket.write_all(&buffer).expect("sent");
            }
            Way::Sendfile => {
                let mut left = slices.len;
                while left > 0 {
                    left -= sendfile64(&socket, &file, Some(&mut offset), left).expect("sent");
                }
            }
            Way::Splice => {
                let mut at = position;
                while at < end {
                    let flags = SpliceFFlags::SPLICE_F_MOVE;
                    let mut n =
                        splice(file.as_fd(), Some(&mut offset), &to_pipe, None, end - at, flags).expect("spliced");
                    at += n;
                    while n > 0 {
                        n -= splice(&from_pipe, None, socket.as_fd(), None, n, flags).expect("spliced");
                    }
                }
            }
            Way::RingRead | Way::AskedFor => unreachable!("run on a shard"),
        }
    }
}

/// The server on a shard.
async fn on_shard(rt: &Rt, way: Way, client: SocketAddr, file: &File, slices: Slices) {
    let socket = rt.connect(client).await.expect("the client listens");
    for position in slices.positions() {
        if way == Way::RingRead {
            let (read, buffer) = rt.read_at(file, position as u64, rt.frame_buf(slices.len)).await;
            assert_eq!(read.expect("read"), slices.len);
            socket.send(vec![buffer.freeze()]).await.expect("sent");
            continue;
        }
        let end = position + slices.len;
        if file.cached_prefix(position as u64, slices.len as u64) < slices.len as u64 {
            rt.will_need(file, position as u64, slices.len as u64).await.expect("asked for");
            rt.read_at(file, end as u64 - 1, rt.frame_buf(1)).await.0.expect("read");
        }
        let mut at = position;
        while at < end {
            match socket.try_send_file(file, at as u64, end - at) {
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => socket.writable().await.expect("connected"),
                Err(e) => panic!("not sent: {e}"),
            }
        }
    }
}
