//! `userdb-machined`, the userdb provider of the machines' users and groups.

fn main() -> std::process::ExitCode {
    userdb_machined::main()
}
