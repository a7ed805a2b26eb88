//! `.txnindex`: the aborted transactions of a segment, in the order of their markers.
//!
//! ```text
//! { version i16 = 0 | producer id i64 | first offset i64 | last offset i64 | last stable offset i64 }
//! ```
//!
//! The file exists only if there are any. They are few: look-ups read it whole.

use std::io::{self, IoSlice};

use kringle_runtime::File;

const ENTRY_BYTES: usize = 34;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AbortedTxn {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// Of the marker.
    pub(crate) last_offset: i64,
    /// Up to where everything was decided when the marker was written.
    pub(crate) last_stable_offset: i64,
}

impl AbortedTxn {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (place, field) in out[2..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        out
    }

    fn decode(entry: &[u8]) -> AbortedTxn {
        let field = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&entry[2 + at * 8..10 + at * 8]);
            i64::from_be_bytes(bytes)
        };
        AbortedTxn {
            producer_id: field(0),
            first_offset: field(1),
            last_offset: field(2),
            last_stable_offset: field(3),
        }
    }
}

/// Adds a transaction at the end of the file.
pub(crate) fn append(file: &File, txn: &AbortedTxn) -> io::Result<()> {
    let len = file.len()?;
    file.write_all_at(&mut [IoSlice::new(&txn.encode())], len - len % ENTRY_BYTES as u64)
}

/// All transactions in the file; a cut last entry is left out.
pub(crate) fn read(file: &File) -> io::Result<Vec<AbortedTxn>> {
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len - len % ENTRY_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.chunks_exact(ENTRY_BYTES).map(AbortedTxn::decode).collect())
}
