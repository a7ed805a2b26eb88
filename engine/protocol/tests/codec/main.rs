//! What holds for every message in every version.
//!
//! Messages are made by `dynamic::arbitrary` from seeded numbers; a failure prints message, version and seed.

mod differential;
mod golden;
mod hostile;
mod round_trip;
mod support;
