//! How unkind the world is.

use std::time::Duration;

/// What may go wrong in the network, and how long things take. Changes take effect at once. Counts of 0 mean never.
#[derive(Clone, Debug)]
pub struct Faults {
    /// One-way latency between machines, from and to. Within a machine a tenth.
    pub network_latency: (Duration, Duration),
    /// Latency of a buffered disk operation, from and to.
    pub disk_latency: (Duration, Duration),
    /// Latency of reading what is not in the page cache, from and to.
    pub cold_read_latency: (Duration, Duration),
    /// Latency of making a file durable, from and to.
    pub sync_latency: (Duration, Duration),
    /// Once in so many times a latency is ten times as long.
    pub slow_once_in: u64,
    /// Once in so many times a receive gives less than has arrived.
    pub partial_receive_once_in: u64,
    /// Once in so many sends the connection breaks.
    pub reset_once_in: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        let us = Duration::from_micros;
        Faults {
            network_latency: (us(20), us(400)),
            disk_latency: (us(2), us(50)),
            cold_read_latency: (us(80), us(2000)),
            sync_latency: (us(200), us(5000)),
            slow_once_in: 100,
            partial_receive_once_in: 4,
            reset_once_in: 0,
        }
    }
}

/// What may go wrong on the disk of one machine. Counts of 0 mean never.
///
/// A failed write has changed nothing. A failed sync loses a seeded part of what it should have made durable, while reads through
/// the page cache go on showing it, as on Linux; reads past the page cache do not.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    /// How much fits. A write beyond it is cut short, the next one fails with `StorageFull`.
    pub capacity_bytes: u64,
    /// Once in so many times a read fails (EIO).
    pub fail_read_once_in: u64,
    /// Once in so many times a write or truncation fails (EIO).
    pub fail_write_once_in: u64,
    /// Once in so many times a sync fails (EIO).
    pub fail_sync_once_in: u64,
    /// So many reads succeed, then one fails.
    pub reads_until_failure: Option<u64>,
    /// So many writes succeed, then one fails.
    pub writes_until_failure: Option<u64>,
    /// So many syncs succeed, then one fails.
    pub syncs_until_failure: Option<u64>,
    /// The page cache is empty for `File::cached_prefix`, whatever was read or written.
    pub cold_cache: bool,
}

impl Default for DiskFaults {
    fn default() -> DiskFaults {
        DiskFaults {
            capacity_bytes: 1 << 40,
            fail_read_once_in: 0,
            fail_write_once_in: 0,
            fail_sync_once_in: 0,
            reads_until_failure: None,
            writes_until_failure: None,
            syncs_until_failure: None,
            cold_cache: false,
        }
    }
}
