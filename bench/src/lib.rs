//! Load generators and criterion benches.
