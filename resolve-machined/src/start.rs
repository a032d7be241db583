//! From the command line to a running service, and to its end.

use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use closer::Closer;
use rustix::io::Errno;
use service_manager::{
    Failure, give_large_memory_back, log, raise_descriptor_limit, ready, signals, sockets, stopping, watchdog,
};
use tokio::signal::unix::SignalKind;
use tokio::sync::watch::Sender;
use tokio::task::LocalSet;
use varlink_server::{Listener, Server, Settings, listen_on};

use crate::cli::Options;
use crate::varlink::{ABOUT, Hook, interface};
use crate::watch;

/// Runs the service until it is told to stop.
pub fn main() -> ExitCode {
    let options = Options::parse();
    log::set_level(options.log_level.number());
    log::start("resolve-machined", options.log_target);
    give_large_memory_back();
    // Before there is anything that it must not have.
    let closer = closer::start();
    let ended = closer
        .map_err(|error| Failure::new("cannot start the process that closes descriptors", error))
        .and_then(|closer| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::new("cannot make an event loop", error))?;
            LocalSet::new().block_on(&runtime, run(closer))
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::say_last(&format!("resolve-machined: {}", log::with_causes(&failure)));
            ExitCode::FAILURE
        }
    }
}

async fn run(closer: Closer) -> Result<(), Failure> {
    // One descriptor per connection.
    raise_descriptor_limit();
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let listeners = listeners()?;

    // Before anybody is served: whoever has this started wants to know of one of them.
    let domains = watch::look().await;
    let hook = Rc::new(Hook { list: Sender::new(domains.list()) });
    // Who calls makes no difference, but for the limits of each user.
    let settings = Settings { pidfds: false, closer: Some(closer), ..Settings::of_process() };
    let server = Server::new(hook.clone(), ABOUT, vec![interface()], settings)
        .map_err(|error| Failure::new("interface descriptions do not fit", error))?;
    for listener in listeners {
        tokio::task::spawn_local(server.clone().serve(listener));
    }
    ready();
    tokio::select! {
        () = watch::follow(domains, &hook.list) => {}
        () = watchdog() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stopping();
    Ok(())
}

/// The sockets that systemd made. Without systemd there is no systemd-resolved either.
fn listeners() -> Result<Vec<Listener>, Failure> {
    let passed = sockets().map_err(|error| Failure::new("cannot take over sockets", error))?;
    if passed.is_empty() {
        let none = std::io::Error::from(Errno::NOTSOCK);
        return Err(Failure::new("systemd has passed no socket (start resolve-machined.socket)", none));
    }
    let adopt = |fd| listen_on(fd).map_err(|error| Failure::new("cannot take over a socket", error));
    passed.into_iter().map(adopt).collect()
}
