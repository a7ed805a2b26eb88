//! The Kafka wire protocol: a table of messages, a generator, bounded decoders.
