//! batch: the processes of the host that are in a machine, by one call for all of them.
//!
//!     cargo run -p libmachine --example batch

use libmachine::Batch;

fn main() -> std::io::Result<()> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    let batch = Batch::of(&pids)?;
    for (place, pid) in pids.iter().enumerate() {
        if let Some(path) = batch.path(place) {
            println!("{pid:7}  {path}");
        }
    }
    println!("{} of {} processes are in a machine", batch.found(), pids.len());
    Ok(())
}
