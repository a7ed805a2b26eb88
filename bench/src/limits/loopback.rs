//! The loopback device: bytes in one direction, and a small message there and back.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

use super::{Limits, moved, waited};

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS: usize = 64;
/// About a request with one record of 100 bytes.
const MESSAGE_BYTES: usize = 256;

pub(super) fn measure(secs: f64, limits: &mut Limits) -> Result<()> {
    let (mut here, there) = pair()?;
    let receiver = std::thread::spawn(move || swallow(there));
    let chunk = vec![3_u8; CHUNK_BYTES];
    limits.moved.push(moved("loopback, send and receive", (CHUNK_BYTES * CHUNKS) as u64, secs, || {
        (0..CHUNKS).try_for_each(|_| here.write_all(&chunk))
    })?);
    drop(here);
    receiver.join().expect("it does not panic")?;

    let (mut here, there) = pair()?;
    let echo = std::thread::spawn(move || return_all(there));
    let mut message = [4_u8; MESSAGE_BYTES];
    limits.waited.push(waited("loopback, 256 B there and back", secs, || {
        here.write_all(&message)?;
        here.read_exact(&mut message)
    })?);
    drop(here);
    echo.join().expect("it does not panic")
}

/// Two ends of a connection.
pub(super) fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

/// Reads until the other end closes.
pub(super) fn swallow(mut socket: TcpStream) -> Result<()> {
    let mut into = vec![0; 1 << 20];
    while socket.read(&mut into)? > 0 {}
    Ok(())
}

fn return_all(mut socket: TcpStream) -> Result<()> {
    let mut message = [0_u8; MESSAGE_BYTES];
    loop {
        match socket.read_exact(&mut message) {
            Ok(()) => socket.write_all(&message)?,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
