//! `machined`, the registry daemon.

fn main() -> std::process::ExitCode {
    machined::main()
}
