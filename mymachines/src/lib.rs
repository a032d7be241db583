//! `mymachines`, the command line tool: which machines there are, what their names resolve to, whose a process, an id
//! or an address is, and what is wrong where that does not work.
//!
//! What only reads (`list`, `status`, `whois`, `resolve`, `watch`, `wait`) reads the registry's files, so that it
//! answers whatever the daemon's state. What changes something is a call to the daemon, with a deadline.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

pub mod cli;
mod client;
mod columns;
mod copy;
mod daemon;
mod doctor;
mod failure;
mod hook;
mod images;
mod list;
mod machine;
mod manage;
mod names;
mod progress;
mod publish;
mod register;
mod resolve;
mod shell;
mod table;
mod terminal;
mod wait;
mod watch;
mod whois;
mod whose;

use cli::{Options, Verb};
use failure::Failure;

/// Runs the program with the arguments of this process.
pub fn run() -> ExitCode {
    // Answers a shell that asks how a line goes on, and returns otherwise.
    clap_complete::CompleteEnv::with_factory(Options::command).var(cli::COMPLETION_VARIABLE).complete();
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Who closed the pipe does not want to know.
            let _ = error.print();
            return ExitCode::from(if is_answer { 0 } else { failure::FAILED });
        }
    };
    let result = match &options.verb {
        Verb::List(list) => list::list(list),
        Verb::Status(status) => list::status(status),
        Verb::Whois(whois) => whois::whois(whois),
        Verb::Resolve(resolve) => resolve::resolve(resolve),
        Verb::Watch(watch) => watch::watch(watch),
        Verb::Wait(wait) => wait::wait(wait),
        Verb::Register(register) => register::register(register),
        Verb::Unregister(named) => manage::unregister(named),
        Verb::Terminate(named) => manage::terminate(named),
        Verb::Kill(kill) => manage::kill(kill),
        Verb::Images(images) => images::images(images),
        Verb::Copy(copy) => copy::copy(copy),
        Verb::Shell(shell) => shell::shell(shell),
        Verb::Publish(publish) => publish::publish(publish),
        Verb::Doctor(doctor) => doctor::doctor(doctor),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}
