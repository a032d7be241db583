//! `resolve-machined`, which tells systemd-resolved the names and addresses of machines.

fn main() -> std::process::ExitCode {
    resolve_machined::main()
}
