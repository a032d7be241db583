//! The command line, from which the completions and the manual page are generated too.

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

use std::path::PathBuf;

use crate::columns::{COLUMNS, USUAL};
use crate::names::candidates;
use crate::publish::name::DnsName;
use crate::publish::network::Network;
use crate::publish::server;
use crate::table::Format;
use crate::whose::Whose;

/// The environment variable by which a shell asks how a line goes on.
pub const COMPLETION_VARIABLE: &str = "MYMACHINES_COMPLETE";

/// Lists the containers and virtual machines of this host, tells whose a process, an id or an address is, and says
/// what is wrong where names do not resolve.
///
/// What only reads (list, status, whois, resolve, watch, wait) reads the files of the registry, and answers whatever the state
/// of the daemon; what changes something calls machined, and gives up after a time. A machine that status finds with the calling
/// user's own daemon, machined --user, is that one's to change; register and images call the system's, and with --user the user's own.
#[derive(Debug, Parser)]
#[command(name = "mymachines", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Options {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List all machines
    ///
    /// Those of the system's registry, and those of the calling user's own daemon, machined --user; the column 'registry'
    /// says which.
    List(List),
    /// Tell all that is known of machines
    ///
    /// A name is that of a machine of the system's registry, or else of one of the calling user's own.
    Status(Status),
    /// Tell which machine processes, users, groups and addresses belong to
    ///
    /// A number is looked up as a process, a uid and a gid, unless an option says which it is; vu-MACHINE-UID and
    /// vg-MACHINE-GID are users and groups of machines. The machine of a process that is in a machine of a machine is
    /// told as outer/inner. What two machines have is neither's. Exit status 2: something belongs to no machine.
    Whois(Whois),
    /// Tell what the name of a machine resolves to
    ///
    /// What the NSS module says of it to programs of the calling user, whether or not /etc/nsswitch.conf has the module
    /// asked: the addresses, in its order. With --verbose, why a name has none. Exit status 2: it does not resolve.
    Resolve(Resolve),
    /// Tell which machines come, go and change, until it is ended
    Watch(Watch),
    /// Wait until machines are there
    ///
    /// A machine is there while its leader runs. Neither the machine nor the registry need be there yet. With --gone, wait
    /// until the machines that have these names now are gone, whether a daemon takes them out of the registry or not; where
    /// there is none that is at once. Exit status 2: the time was over before.
    Wait(Wait),
    /// Register a machine
    ///
    /// With --from, the container manager says which: lxc, from a hook (LXC_NAME, LXC_PID and so on); oci, from the
    /// state that an OCI runtime writes to standard input. Then it takes 2 seconds at most and always succeeds, so that
    /// no container fails to start for it; what went wrong is said on standard error.
    Register(Box<Register>),
    /// Take machines out of the registry; they run on
    Unregister(Named),
    /// End machines: their unit is stopped, or their processes are told to end
    Terminate(Named),
    /// Send a signal to processes of machines
    Kill(Kill),
    /// List the images that machines can be started from
    ///
    /// As machined finds them in /var/lib/machines and the other directories; those whose names begin with a dot are told
    /// if they are named. Exit status 2: there is no such image.
    Images(Images),
    /// Copy files and directories into a machine, or out of it
    ///
    /// One of the two is a path inside a machine, MACHINE:PATH; without PATH it is where the other one is. Directories are
    /// copied with all that is in them. On a terminal a line says how far it is; the copy ends when this command is ended.
    Copy(Copy),
    /// Open a shell in a machine, or run a program there, on this terminal
    ///
    /// The user is root if none is named. The program is named by its absolute path in the machine, and without one it is
    /// the user's shell. Typing Ctrl-] three times within a second leaves it. Input that comes from no terminal ends the
    /// program's input too. Exit status 0 means that it was to be started: neither the program's own is known, nor whether there
    /// is such a user or program, which the journal says.
    Shell(Shell),
    /// Publish the names of machines where other hosts find them
    Publish(Publish),
    /// Say what is wrong, and the command that mends it
    ///
    /// Looks at the daemon, the NSS module, nsswitch.conf, userdb, the records, polkit and denials of AppArmor and
    /// SELinux. As root it sees more. Exit status 1: something is wrong.
    Doctor(Doctor),
}

/// How rows are written.
#[derive(Debug, Args)]
pub struct Output {
    /// How to write it
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: Format,
    /// Without the titles of the columns
    #[arg(long)]
    pub no_legend: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Whose registry.
    #[command(flatten)]
    pub whose: Whose,
    /// Output.
    #[command(flatten)]
    pub output: Output,
    /// Which columns, in this order; 'all' are all
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', default_values = USUAL, hide_default_value = true,
        long_help = column_help(),
        add = ArgValueCandidates::new(column_candidates))]
    pub columns: Vec<String>,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The machines
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,
    /// Whose registry.
    #[command(flatten)]
    pub whose: Whose,
    /// Output.
    #[command(flatten)]
    pub output: Output,
    /// What to tell; all by default
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', default_value = "all", hide_default_value = true,
        add = ArgValueCandidates::new(column_candidates))]
    pub columns: Vec<String>,
}

/// `whois`.
#[derive(Debug, Args)]
pub struct Whois {
    /// Process ids, uids, gids, addresses, users or groups
    #[arg(required = true, value_name = "PID|UID|GID|ADDRESS|USER")]
    pub subjects: Vec<String>,
    /// Numbers are process ids
    #[arg(long, conflicts_with_all = ["uid", "gid"])]
    pub pid: bool,
    /// Numbers are uids
    #[arg(long, conflicts_with = "gid")]
    pub uid: bool,
    /// Numbers are gids
    #[arg(long)]
    pub gid: bool,
    /// Output.
    #[command(flatten)]
    pub output: Output,
}

/// `resolve`.
#[derive(Debug, Args)]
pub struct Resolve {
    /// The machines
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,
    /// Say on standard error why a name does not resolve
    #[arg(long, short)]
    pub verbose: bool,
    /// Output.
    #[command(flatten)]
    pub output: Output,
}

/// `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Tell first which machines there are
    #[arg(long)]
    pub all: bool,
    /// Output.
    #[command(flatten)]
    pub output: Output,
    /// What to tell, in this order, as for list
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', default_values = USUAL, hide_default_value = true,
        add = ArgValueCandidates::new(column_candidates))]
    pub columns: Vec<String>,
}

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The machines, all of which are waited for
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,
    /// Wait until they are gone
    #[arg(long)]
    pub gone: bool,
    /// How long at most, for all of them together; for ever if it is not given
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// The manager that has a hook call `register`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Manager {
    /// LXC, and Incus by raw.lxc: the environment of a hook
    Lxc,
    /// Podman and other OCI runtimes: the state on standard input
    Oci,
}

/// `register`.
#[derive(Debug, Args)]
pub struct Register {
    /// Its name
    #[arg(value_name = "NAME", required_unless_present = "from")]
    pub name: Option<String>,
    /// Its first process, as the host numbers it
    #[arg(long, value_name = "PID", required_unless_present = "from")]
    pub leader: Option<u32>,
    /// Which container manager says the name and the leader
    #[arg(long, value_enum, value_name = "MANAGER", exclusive = true)]
    pub from: Option<Manager>,
    /// What it is
    #[arg(long, value_parser = PossibleValuesParser::new(["container", "vm"]), default_value = "container")]
    pub class: String,
    /// What started it
    #[arg(long)]
    pub service: Option<String>,
    /// The machine id inside
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Its root directory on the host
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<String>,
    /// A network interface of the host that leads to it, by name or number; may be given several times
    #[arg(long = "interface", value_name = "INTERFACE", add = ArgValueCandidates::new(interface_candidates))]
    pub interfaces: Vec<String>,
    /// Its AF_VSOCK id
    #[arg(long, value_name = "CID")]
    pub vsock_cid: Option<u32>,
    /// Where its SSH server is reached
    #[arg(long, value_name = "ADDRESS")]
    pub ssh_address: Option<String>,
    /// The private key for it
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<String>,
    /// The Varlink address of its manager
    #[arg(long, value_name = "ADDRESS")]
    pub control_address: Option<String>,
    /// Give it a unit, or without systemd a control group, of its own
    #[arg(long)]
    pub allocate_unit: bool,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `unregister` and `terminate`.
#[derive(Debug, Args)]
pub struct Named {
    /// The machines
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The machines
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(candidates))]
    pub names: Vec<String>,
    /// The signal, by name or number
    #[arg(long, short, default_value = "TERM", add = ArgValueCandidates::new(signal_candidates))]
    pub signal: String,
    /// Whom it goes to
    #[arg(long, value_parser = PossibleValuesParser::new(["leader", "supervisor", "all"]), default_value = "all")]
    pub whom: String,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `images`.
#[derive(Debug, Args)]
pub struct Images {
    /// The images; all by default
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Output.
    #[command(flatten)]
    pub output: Output,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `copy`.
#[derive(Debug, Args)]
pub struct Copy {
    /// What is copied, MACHINE:PATH or PATH
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where to, PATH or MACHINE:PATH
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    /// Replace files that are there already
    #[arg(long)]
    pub replace: bool,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// The machine, and the user in it
    #[arg(value_name = "[USER@]MACHINE", add = ArgValueCandidates::new(candidates))]
    pub machine: String,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// Sets a variable for the program; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub setenv: Vec<String>,
    /// Show the machine's login prompt instead
    #[arg(long, conflicts_with_all = ["command", "setenv"])]
    pub login: bool,
    /// Whose daemon.
    #[command(flatten)]
    pub whose: Whose,
}

/// `publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// Where
    #[command(subcommand)]
    pub place: Place,
}

/// Where names are published.
#[derive(Debug, Subcommand)]
pub enum Place {
    /// Keep a zone of a DNS server as the machines of this host are, until it is ended
    ///
    /// Each machine has A and AAAA records, a PTR record for each address, and a TXT record that names this host. They are changed
    /// by updates as in RFC 2136, signed by the key, which dig and nsupdate send. Who has a name first keeps it; who comes
    /// second is told on standard error. Other records of the zone stay as they are. Machines that users registered for
    /// themselves are left out.
    ///
    /// When it is ended what is published stays, for when it is started again. When the host does not come back, any other
    /// publisher of the zone removes it after the time of --expiry. A server that does not answer is asked until it does. Exit
    /// status 1: it cannot go on until something is changed, which it says.
    Dns(Box<PublishDns>),
}

/// `publish dns`.
#[derive(Debug, Args)]
pub struct PublishDns {
    /// The zone of the names
    #[arg(long, value_parser = dns_name)]
    pub zone: DnsName,
    /// The primary server of the zone, by address or name, HOST:PORT or [ADDRESS]:PORT
    #[arg(long, value_name = "HOST")]
    pub server: server::Place,
    /// The key that the server lets transfer and update the zones, as tsig-keygen writes it
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Publish addresses of this network, as 10.9.0.0/16, and no others; may be given several times
    #[arg(long = "network", required = true, value_name = "ADDRESS/BITS")]
    pub networks: Vec<Network>,
    /// A zone for the names of addresses, as 9.10.in-addr.arpa, in the place of those that the server has for the networks; may
    /// be given several times
    #[arg(long = "reverse-zone", value_name = "ZONE", value_parser = dns_name)]
    pub reverse_zones: Vec<DnsName>,
    /// What this host is called in the zone; its own name by default, to the first dot
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// How long what is published stays when this host is gone, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u64).range(10..=2_592_000))]
    pub expiry: u64,
    /// How long others may remember what they were told, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub ttl: u32,
    /// Say on standard error what is changed
    #[arg(long, short)]
    pub verbose: bool,
    /// Take away all that this host has published in the zone, and end
    #[arg(long)]
    pub withdraw: bool,
}

fn dns_name(text: &str) -> Result<DnsName, String> {
    DnsName::new(text).map_err(|rule| rule.to_string())
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Output.
    #[command(flatten)]
    pub output: Output,
}

const EXIT_STATUS: &str = "\
Exit status, as getent(1) has it: 0 it was done, or found; 1 it could not be done, or the command line is wrong; \
2 there is no such machine, or no machine has it.";

/// What columns there are.
fn column_help() -> String {
    let widest = COLUMNS.iter().map(|column| column.name.len()).max().unwrap_or_default();
    let lines = COLUMNS.iter().map(|column| format!("  {:widest$}  {}", column.name, column.about));
    let lines: Vec<String> = lines.collect();
    format!("Which columns, in this order; 'all' are all:\n\n{}", lines.join("\n"))
}

fn column_candidates() -> Vec<CompletionCandidate> {
    let all = CompletionCandidate::new("all");
    let of_table =
        COLUMNS.iter().map(|column| CompletionCandidate::new(column.name).help(Some(column.about.into())));
    of_table.chain([all]).collect()
}

fn interface_candidates() -> Vec<CompletionCandidate> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| CompletionCandidate::new(entry.file_name())).collect()
}

fn signal_candidates() -> Vec<CompletionCandidate> {
    ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "RTMIN+3", "RTMIN+4", "RTMIN+5"]
        .iter()
        .map(CompletionCandidate::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
