//! The Kafka broker on io_uring.

fn main() {}
