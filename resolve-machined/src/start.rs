//! From the command line to a running service, and to its end.

use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use closer::Closer;
use rustix::io::Errno;
use service_manager::{
    EndSignals, Failure, exit_status, give_large_memory_back, raise_descriptor_limit, ready, sockets,
    stopping, watchdog,
};
use tokio::sync::watch::Sender;
use varlink_server::{Listener, Server, Settings, listen_on};

use crate::cli::Options;
use crate::varlink::{ABOUT, Hook, interface};
use crate::watch;

/// Runs the service until it is told to stop.
pub fn main() -> ExitCode {
    let options = Options::parse();
    options.log.start("resolve-machined");
    give_large_memory_back();
    // Before there is anything that it must not have.
    let closer = closer::start();
    let closer =
        closer.map_err(|error| Failure::new("cannot start the process that closes descriptors", error));
    exit_status(closer.and_then(|closer| service_manager::run(run(closer))))
}

async fn run(closer: Closer) -> Result<(), Failure> {
    // One descriptor per connection.
    raise_descriptor_limit();
    let mut end = EndSignals::handle()?;
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
        () = end.came() => {}
    }
    stopping();
    Ok(())
}

/// The sockets that systemd made. Without systemd there is no systemd-resolved either.
fn listeners() -> Result<Vec<Listener>, Failure> {
    let passed = sockets()?;
    if passed.is_empty() {
        let none = std::io::Error::from(Errno::NOTSOCK);
        return Err(Failure::new("systemd has passed no socket (start resolve-machined.socket)", none));
    }
    let adopt = |fd| listen_on(fd).map_err(|error| Failure::new("cannot take over a socket", error));
    passed.into_iter().map(adopt).collect()
}
