//! `kringle-bench <workload>`: loads any Kafka-compatible broker and reports what it did.

use std::process::ExitCode;

fn main() -> ExitCode {
    kringle_bench::main()
}
