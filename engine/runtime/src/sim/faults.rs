//! How unkind the world is.

use std::time::Duration;

/// What may go wrong, and how long things take. Changes take effect at once.
#[derive(Clone, Debug)]
pub struct Faults {
    /// One-way latency between machines, from and to.
    pub network_latency: (Duration, Duration),
    /// Latency of a buffered disk operation, from and to.
    pub disk_latency: (Duration, Duration),
    /// Latency of reading what is not in the page cache, from and to.
    pub cold_read_latency: (Duration, Duration),
    /// Latency of making a file durable, from and to.
    pub sync_latency: (Duration, Duration),
    /// Once in so many times a latency is ten times as long; 0: never.
    pub slow_once_in: u64,
    /// Once in so many times a receive gives less than has arrived; 0: never.
    pub partial_receive_once_in: u64,
    /// The page cache is empty for `File::cached_prefix`, whatever was read or written.
    pub cold_cache: bool,
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
            cold_cache: false,
        }
    }
}
