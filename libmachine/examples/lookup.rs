//! lookup PID: which machines a process is in, and what is known of the nearest.
//!
//!     cargo run -p libmachine --example lookup 4711

use libmachine::{Field, Snapshot, machines_of_pid};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 0 is the caller.
    let pid = std::env::args().nth(1).map_or(Ok(0), |pid| pid.parse())?;
    let machines = machines_of_pid(pid)?;
    match machines.last() {
        Some(nearest) => show(nearest),
        None => println!("it is the host's"),
    }
    Ok(())
}

fn show(machine: &Snapshot) {
    let text = |field| machine.text(field).map_or("-".into(), String::from_utf8_lossy);
    println!("{}: {} of {}", machine.name(), text(Field::Class), text(Field::Service));
    match machine.addresses() {
        Ok(addresses) => addresses.iter().for_each(|address| println!("  {address}")),
        // "the machine shares the network of the host", for example.
        Err(why) => println!("  no addresses: {why}"),
    }
}
