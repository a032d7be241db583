//! Terminals of machines: bare, with a login, with a shell.

use rustix::io::Errno;

use super::services::Operations;
use super::target::Target;
use crate::authorization::{Action, Caller, HostLogin, HostOpenPty, HostShell, Login, OpenPty, OpenShell};
use crate::error::Error;
use crate::inside::{OpenedTerminal, Terminal};
use crate::systemd::{Shell, start_getty, start_shell};
use zbus::Connection;

/// How many variables a shell may be given.
pub const VARIABLES: usize = 16_384;

/// What runs on a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Program {
    /// Nothing yet.
    Nothing,
    /// A login.
    Login,
    /// A shell.
    Shell(Shell),
}

/// The proof that somebody may open a terminal of this machine for this program.
#[derive(Debug)]
pub struct Opening {
    target: Target,
    program: Program,
}

impl Operations {
    /// Whether somebody may open a terminal. The details are what polkit's rules are told.
    ///
    /// # Errors
    /// As [`Operations::may`].
    pub async fn may_open(
        &self,
        caller: &Caller,
        target: Target,
        program: Program,
    ) -> Result<Opening, Error> {
        let name = self.name_of(target)?;
        let machine = ("machine", name.as_str());
        match (&program, target) {
            (Program::Nothing, Target::Host) => self.ask::<HostOpenPty>(caller, target, &[machine]).await,
            (Program::Nothing, _) => self.ask::<OpenPty>(caller, target, &[machine]).await,
            (Program::Login, Target::Host) => {
                self.ask::<HostLogin>(caller, target, &[machine, ("verb", "login")]).await
            }
            (Program::Login, _) => self.ask::<Login>(caller, target, &[machine, ("verb", "login")]).await,
            (Program::Shell(shell), _) => {
                let line = shell.arguments.join(" ");
                let details = [
                    machine,
                    ("verb", "shell"),
                    ("user", &shell.user),
                    ("program", &shell.path),
                    ("command_line", &line),
                ];
                match target {
                    Target::Host => self.ask::<HostShell>(caller, target, &details).await,
                    Target::Machine(_) => self.ask::<OpenShell>(caller, target, &details).await,
                }
            }
        }?;
        Ok(Opening { target, program })
    }

    async fn ask<A: Action>(
        &self,
        caller: &Caller,
        target: Target,
        details: &[(&'static str, &str)],
    ) -> Result<(), Error> {
        self.may::<A>(caller, Some(target), details).await.map(drop)
    }

    /// Whether a terminal of a machine would be one of the host's root, who did not register the machine.
    ///
    /// # Errors
    /// [`Error::RootNamespace`].
    pub fn is_not_the_hosts_root(&self, target: Target) -> Result<(), Error> {
        let Target::Machine(key) = target else { return Ok(()) };
        let record = self.record(key).ok_or(Error::NoSuchMachine)?;
        let leader = self.daemon.leader(key).ok_or(Error::NoSuchMachine)?;
        let own = self.daemon.surroundings.user_namespace.as_ref().map(|own| own.inode);
        let is_hosts = own.is_none() || leader.user_namespace().is_none_or(|its| Some(its) == own);
        if record.uid.is_some_and(|uid| uid != 0) && is_hosts { Err(Error::RootNamespace) } else { Ok(()) }
    }

    /// Opens a terminal, and starts what is to run on it; that is not waited for.
    ///
    /// # Errors
    /// [`Error::NotSupported`]: it is no container. [`Error::NoIpc`]: it has no bus. [`Error::NoProgram`]: what is to run is
    /// not there. [`Error::Terminal`], [`Error::MachineBus`]: what the kernel says. What systemd says, in its own words.
    pub async fn open_terminal(&self, opening: Opening) -> Result<Terminal, Error> {
        let Opening { target, program } = opening;
        let failed = |errno| Error::Terminal { errno };
        let wants_bus = program != Program::Nothing;
        let (terminal, bus) = match target {
            Target::Host => {
                let terminal = Terminal::of_host().map_err(failed)?;
                (terminal, if wants_bus { self.bus.at_hand().await } else { None })
            }
            Target::Machine(key) => {
                let guest = self.guest(key).map_err(|error| match error {
                    Error::NotAvailable => Error::NotSupported,
                    error => error,
                })?;
                let path = match &program {
                    Program::Shell(shell) => Some(shell.path.clone()),
                    Program::Nothing | Program::Login => None,
                };
                let opened = self.inside.terminal(&guest, wants_bus, path.clone()).await.map_err(failed)?;
                let OpenedTerminal { terminal, bus, lacks_program } = opened;
                let bus = match bus {
                    Some(Ok(socket)) => Some(self.bus_of(socket).await?),
                    Some(Err(Errno::NOENT | Errno::CONNREFUSED)) | None => None,
                    Some(Err(errno)) => return Err(Error::MachineBus { errno }),
                };
                if let (Some(path), Some(_), true) = (path, &bus, lacks_program) {
                    return Err(Error::NoProgram { path });
                }
                (terminal, bus)
            }
        };
        if wants_bus {
            let systemd = bus.ok_or(Error::NoIpc)?;
            self.start(&systemd, &terminal, program, target).await?;
        }
        Ok(terminal)
    }

    async fn start(
        &self,
        systemd: &Connection,
        terminal: &Terminal,
        program: Program,
        target: Target,
    ) -> Result<(), Error> {
        let started = match program {
            Program::Nothing => Ok(()),
            Program::Login => start_getty(systemd, terminal.number).await,
            Program::Shell(shell) => {
                let open = || {
                    terminal.open_peer().map_err(|errno| Error::System { action: "open the terminal", errno })
                };
                start_shell(systemd, terminal.number, open, shell).await
            }
        };
        if let Target::Machine(_) = target {
            // Nobody else has it.
            tokio::task::spawn_local(systemd.clone().close());
        }
        started
    }

    /// The bus of a container, over a connection to it. It is the container's: it may never answer.
    async fn bus_of(&self, socket: std::os::fd::OwnedFd) -> Result<Connection, Error> {
        let joined = self.bus.join_other(socket, 0).await;
        joined.map_err(|cause| Error::MachineBus {
            errno: match cause {
                crate::bus::CallError::Timeout => Errno::TIMEDOUT,
                _ => Errno::IO,
            },
        })
    }
}
