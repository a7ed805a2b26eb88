//! A small Kafka client on the runtime.
