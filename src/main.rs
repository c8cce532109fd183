//! The `gatepass` command; see [`gatepass`] for the house behind it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gatepass::cli::main(std::env::args_os()))
}
