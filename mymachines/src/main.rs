//! The command line tool for the machines of a host; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mymachines::run()
}
