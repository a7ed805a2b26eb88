//! Sends answers: memory by a plain send, file slices by zero copy from the page cache, once they are there.
//!
//! `sendfile` of a range that is not in the page cache, or on its way there, would put the whole shard to sleep on the disk (Kafka's
//! network threads suffer from that: KAFKA-7504). So every slice is first asked how much of it is there. The cold rest is asked of the
//! disk, and the task waits on the ring for the end of its next part while the shard goes on with its other connections.

use std::io;

use bytes::{Buf, Bytes};
use kringle_runtime::Socket;

use super::response::{FileSlice, Response};
use crate::shard::Shard;

/// Bytes of one connection that leave by sendfile before the others get their turn.
const SENDFILE_TURN_BYTES: usize = 256 << 10;

/// Bytes of a cold range that are waited for before they are sent.
const COLD_BYTES: usize = 256 << 10;

/// Bytes of a slice in a cold range that are asked of the disk at once, at most...
const ASKED_BYTES: usize = 8 << 20;

/// ...and at least, beyond the slice: who reads one part of a log reads the next.
const AHEAD_BYTES: usize = 4 << 20;

/// Sends all of it.
pub(crate) async fn all(shard: &Shard, socket: &Socket, response: Response) -> io::Result<()> {
    let Response { mut memory, files } = response;
    let (mut done, mut turn) = (0, SENDFILE_TURN_BYTES);
    for (place, slice) in files {
        let head = &memory[done..place];
        let sent = what_fits(head, |head| socket.try_send_before_more(head))?;
        if sent < head.len() {
            socket.send(vec![Bytes::copy_from_slice(&head[sent..])]).await?;
        }
        done = place;
        file(shard, socket, slice, &mut turn).await?;
    }
    let sent = done + what_fits(&memory[done..], |rest| socket.try_send(rest))?;
    if sent < memory.len() {
        memory.advance(sent);
        return socket.send(vec![memory.freeze()]).await;
    }
    shard.keep_answer_room(memory);
    Ok(())
}

/// How many bytes the socket took at once.
fn what_fits(bytes: &[u8], try_send: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match try_send(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

/// Sends one slice. `turn`: how much of this answer may leave before the others get their turn.
async fn file(shard: &Shard, socket: &Socket, mut slice: FileSlice, turn: &mut usize) -> io::Result<()> {
    let mut asked = Asked { upto: slice.position, waited_at: None };
    while slice.len > 0 {
        let window = slice.len.min(*turn);
        let hot =
            usize::try_from(slice.file.cached_prefix(slice.position, window as u64)).unwrap_or(window).min(window);
        let sent = if hot > 0 {
            from_cache(shard, socket, &slice, hot).await?
        } else if asked.waited_at != Some(slice.position) {
            from_disk(shard, &slice, &mut asked).await?;
            0
        } else {
            // Gone again before it could be sent: memory is short, and a copy of one's own is sure.
            copied(shard, socket, &slice).await?
        };
        slice.position += sent as u64;
        slice.len -= sent;
        ask_ahead(shard, &slice);
        *turn -= sent.min(*turn);
        if *turn == 0 {
            shard.rt.yield_now().await;
            *turn = SENDFILE_TURN_BYTES;
        }
    }
    Ok(())
}

/// Asks the disk for what a reader of cold records will want next, before he does.
fn ask_ahead(shard: &Shard, slice: &FileSlice) {
    let Some(from) = slice.file.read_ahead(slice.position, AHEAD_BYTES as u64) else { return };
    let (rt, file) = (shard.rt.clone(), slice.file.clone());
    shard.rt.spawn(async move {
        // What the disk has against it, the one who waits for it is told.
        if let Err(error) = rt.will_need(&file, from, AHEAD_BYTES as u64).await {
            tracing::debug!("cold records are not asked for ahead: {error}");
        }
    });
}

/// What of a slice has been asked of the disk.
struct Asked {
    /// All before this position.
    upto: u64,
    /// The position from which on a part was waited for.
    waited_at: Option<u64>,
}

/// Waits until the next part of a slice is in the page cache; what follows is on its way then.
async fn from_disk(shard: &Shard, slice: &FileSlice, asked: &mut Asked) -> io::Result<()> {
    if slice.position >= asked.upto {
        let ahead = slice.len.clamp(AHEAD_BYTES, ASKED_BYTES) as u64;
        shard.rt.will_need(&slice.file, slice.position, ahead).await?;
        asked.upto = slice.position + ahead;
    }
    let last = slice.position + slice.len.min(COLD_BYTES) as u64 - 1;
    shard.rt.read_at(&slice.file, last, shard.rt.frame_buf(1)).await.0?;
    shard.metrics.fetch_cold_waits.add(1);
    asked.waited_at = Some(slice.position);
    Ok(())
}

async fn from_cache(shard: &Shard, socket: &Socket, slice: &FileSlice, hot: usize) -> io::Result<usize> {
    let mut sent = 0;
    while sent < hot {
        match socket.try_send_file(&slice.file, slice.position + sent as u64, hot - sent) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment ended inside a slice")),
            Ok(n) => sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    shard.metrics.fetch_bytes_sendfile.add(sent as u64);
    Ok(sent)
}

async fn copied(shard: &Shard, socket: &Socket, slice: &FileSlice) -> io::Result<usize> {
    let buffer = shard.rt.frame_buf(slice.len.min(COLD_BYTES));
    let (read, buffer) = shard.rt.read_at(&slice.file, slice.position, buffer).await;
    let read = read?;
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment ended inside a slice"));
    }
    socket.send(vec![buffer.freeze()]).await?;
    shard.metrics.fetch_bytes_ring.add(read as u64);
    Ok(read)
}
