//! Sends the same requests to Apache Kafka and to Kringle and compares the answers.

fn main() {}
