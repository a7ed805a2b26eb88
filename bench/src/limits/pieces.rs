//! What is done by the piece: small sends, small writes, look-ups. A piece costs what a system call costs, whatever it carries.

use std::convert::Infallible;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Result, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::sys::sendfile::sendfile64;

use super::loopback::{pair, swallow};
use super::{Limits, Piece, cpu};

/// The fastest of so many stretches counts: what disturbs one of them is no limit of the machine.
const STRETCHES: u32 = 5;
/// Calls between two looks at the clock.
const CALLS: u64 = 256;
/// A file is cut to nothing when it has so much, so that its page cache is used again.
const FILE_BYTES: usize = 64 << 20;
/// Batches that the bench appends, and what lies between.
const APPENDED: [usize; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 1000 << 10];
/// A request with one record of 100 bytes, with ten of them, with 16 and 128 of 1 KiB.
const SENT: [usize; 4] = [256, 1 << 10, 16 << 10, 128 << 10];
/// Of a fetch; all of it has room in a socket.
const SENT_FROM_FILE: usize = 64 << 10;
/// What the echo bench sends.
const ECHOED: usize = 100;
/// The header of a record batch: what a look-up reads where an index does not say enough.
const HEADER: usize = 61;
/// Batches whose places a log remembers.
const REMEMBERED: i64 = 64;

pub(super) fn measure(file: &File, secs: f64, limits: &mut Limits) -> Result<()> {
    for len in APPENDED {
        limits.pieces.push(appended(file, len, secs)?);
    }
    let mut header = [0; HEADER];
    let places = (0..file.metadata()?.len() - HEADER as u64).step_by(4096 + HEADER);
    let mut next = places.clone().cycle();
    limits.pieces.push(calls("read from the page cache", HEADER, secs, || {
        file.read_exact_at(&mut header, next.next().expect("it begins again"))
    })?);
    for len in SENT {
        limits.pieces.push(sent(len, secs)?);
    }
    for half in [Half::Sending, Half::Receiving] {
        limits.pieces.push(sent_from_file(file, half, secs)?);
    }
    let ((mut here, mut there), mut message) = (pair()?, [8; ECHOED]);
    limits.pieces.push(calls("send and receive over loopback, both by one thread", ECHOED, secs, || {
        here.write_all(&message)?;
        there.read_exact(&mut message)
    })?);
    limits.pieces.push(found(secs));
    Ok(())
}

/// Leaves the file nearly full.
fn appended(file: &File, len: usize, secs: f64) -> Result<Piece> {
    let chunk = vec![9_u8; len];
    stretches("append to the page cache", Some(len), secs, || {
        file.set_len(0)?;
        timed(|| {
            let positions = (0..FILE_BYTES - len).step_by(len);
            let count = positions.len() as u64;
            positions.into_iter().try_for_each(|at| file.write_all_at(&chunk, at as u64)).map(|()| count)
        })
    })
}

fn sent(len: usize, secs: f64) -> Result<Piece> {
    let (mut here, there) = pair()?;
    let receiver = std::thread::spawn(move || swallow(there));
    let message = vec![10_u8; len];
    let piece = calls("send over loopback", len, secs, || here.write_all(&message))?;
    drop(here);
    receiver.join().expect("it does not panic")?;
    Ok(piece)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Sending,
    Receiving,
}

/// One half is timed, and one thread does both in turn: while two threads do them on one connection, both are slower than either alone.
fn sent_from_file(file: &File, half: Half, secs: f64) -> Result<Piece> {
    let (here, mut there) = pair()?;
    here.set_nonblocking(true)?;
    let mut sink = [0; SENT_FROM_FILE];
    let mut places = (0..file.metadata()?.len() - SENT_FROM_FILE as u64).step_by(SENT_FROM_FILE).cycle();
    let name = if half == Half::Sending { "sendfile to loopback" } else { "receive over loopback" };
    stretches(name, Some(SENT_FROM_FILE), secs, || {
        let mut at = i64::try_from(places.next().expect("it begins again")).expect("a small file");
        let sending = timed(|| {
            let sent = sendfile64(here.as_fd(), file.as_fd(), Some(&mut at), SENT_FROM_FILE)?;
            // Only this thread could make room.
            if sent < SENT_FROM_FILE { Err(std::io::Error::from(std::io::ErrorKind::WriteZero)) } else { Ok(1) }
        })?;
        let receiving = timed(|| there.read_exact(&mut sink).map(|()| 1))?;
        Ok::<_, std::io::Error>(if half == Half::Sending { sending } else { receiving })
    })
}

/// A binary search where everything is at hand.
fn found(secs: f64) -> Piece {
    let places: Vec<i64> = (0..REMEMBERED).map(|n| n * 4).collect();
    let mut wanted = 0;
    let Ok(piece) = stretches("find one of 64 offsets", None, secs, || {
        timed(|| {
            for _ in 0..CALLS * CALLS {
                wanted = (wanted + 7) % (REMEMBERED * 4);
                black_box(black_box(&places).partition_point(|place| *place <= wanted));
            }
            Ok::<_, Infallible>(CALLS * CALLS)
        })
    });
    piece
}

fn calls<E>(
    name: &str,
    len: usize,
    secs: f64,
    mut once: impl FnMut() -> std::result::Result<(), E>,
) -> std::result::Result<Piece, E> {
    stretches(name, Some(len), secs, || timed(|| (0..CALLS).try_for_each(|_| once()).map(|()| CALLS)))
}

/// How many, and what they took on the clock and of the processors.
struct Timed {
    count: u64,
    took: Duration,
    cpu: Duration,
}

fn timed<E>(some: impl FnOnce() -> std::result::Result<u64, E>) -> std::result::Result<Timed, E> {
    let before = cpu();
    let began = Instant::now();
    let count = some()?;
    let took = began.elapsed();
    Ok(Timed { count, took, cpu: cpu().saturating_sub(before) })
}

/// Does some again and again; the rate of the fastest stretch, the processor time of all.
fn stretches<E>(
    name: &str,
    bytes: Option<usize>,
    secs: f64,
    mut some: impl FnMut() -> std::result::Result<Timed, E>,
) -> std::result::Result<Piece, E> {
    some()?;
    let (mut fastest, mut count, mut used) = (0.0_f64, 0, Duration::ZERO);
    for _ in 0..STRETCHES {
        let (mut done, mut took) = (0, Duration::ZERO);
        while took.as_secs_f64() < secs / f64::from(STRETCHES) {
            let one = some()?;
            done += one.count;
            took += one.took;
            used += one.cpu;
        }
        count += done;
        fastest = fastest.max(to_f64(done) / took.as_secs_f64());
    }
    Ok(Piece { name: name.to_owned(), bytes, per_s: fastest, cpu_us: used.as_secs_f64() * 1e6 / to_f64(count) })
}

#[allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
