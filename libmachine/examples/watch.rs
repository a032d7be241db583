//! watch [SECONDS]: lists the machines that are there, then says which came, went or changed. With tokio, which waits for the
//! monitor as for a socket.
//!
//!     cargo run -p libmachine --example watch

use std::io;
use std::time::Duration;

use libmachine::{Change, Event, Monitor, MonitorOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok());
    let mut options = MonitorOptions::default();
    options.list = true;
    options.wait_for_registry = true;
    options.watch_leaders = true;
    #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
    let monitor = AsyncFd::with_interest(Monitor::with(options)?, Interest::READABLE)?;
    match seconds.map(Duration::from_secs) {
        // That the time is over is no error here.
        Some(time) => tokio::time::timeout(time, watch(monitor)).await.unwrap_or(Ok(())),
        None => watch(monitor).await,
    }
}

async fn watch(mut monitor: AsyncFd<Monitor>) -> io::Result<()> {
    loop {
        while let Some(event) = monitor.get_mut().next_event()? {
            tell(&event);
        }
        // All was told: it is readable again when there is more.
        monitor.readable().await?.clear_ready();
    }
}

fn tell(event: &Event) {
    let name = event.name.as_ref().map_or("", |name| name.as_str());
    match event.change {
        Change::Present => println!("there    {name}"),
        Change::Listed => println!("-- that is all; now watching"),
        Change::New => println!("new      {name}"),
        Change::Removed => println!("gone     {name}"),
        Change::Changed => println!("changed  {name}"),
        Change::Overflow => println!("-- something was missed; all that are there now:"),
        _ => {}
    }
}
