//! `kringle [server.properties] [--override key=value ...]`: runs a broker until Ctrl-C or SIGTERM.

use std::process::ExitCode;

fn main() -> ExitCode {
    kringle::cli::main()
}
