//! Reads the leases of DHCP servers in a process of its own: where their files are may be a file system that does not answer.
//!
//! The process is this program in a mode of its own. It says which leases have come and gone, a line of JSON for some of them
//! at a time, and is there only while there are virtual machines that leases could be of.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::task::yield_now;
use tokio::time::sleep;
use tracing::{debug, warn};
use turns::processor_time;

use super::allowance::Allowance;
use super::keeper::Keeper;
use super::vms::{Changes, Entry, LeaseFiles};
use crate::own_process::{OwnProcess, PROGRAM};

/// What the program is told so that it reads leases.
pub const MODE: &str = "--lease-reader";

/// So many leases are said in one line.
const BATCH: usize = 256;
/// The longest line, in bytes.
const LONGEST: u64 = 1 << 20;
/// More leases are not told.
const MOST: usize = 64 * 1024;
/// How long changes of files are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// How often files are read that cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(15);
/// When a reader is started again that has ended.
const AGAIN: Duration = Duration::from_secs(15);

/// What the reader says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Said {
    /// These are written down no more.
    Gone(Vec<Entry>),
    /// These are.
    New(Vec<Entry>),
    /// That is all for now.
    Done,
}

impl<K: Copy + Ord + Hash + Debug> Keeper<K> {
    /// Keeps the leases current while somebody wants them, for ever.
    pub async fn follow_leases(&self) {
        let mut wanted = self.leases_wanted.subscribe();
        let mut is_told = false;
        // The keeper has the other end.
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            match OwnProcess::start(&[PROGRAM, MODE], None) {
                Ok((process, socket)) => {
                    let done = tokio::select! {
                        done = self.take_in(BufReader::new(socket)) => done,
                        _ = wanted.wait_for(|wanted| !*wanted) => Ok(()),
                    };
                    process.kill();
                    // One at a time, also where it hangs.
                    process.ended().await;
                    match done {
                        Ok(()) => continue,
                        Err(error) => debug!("The reader of leases has ended: {error}"),
                    }
                }
                Err(error) if is_told => debug!("Leases are not read: {error}"),
                Err(error) => {
                    is_told = true;
                    warn!(
                        "Leases of DHCP servers are not read, as no process can be started for it: {error}"
                    );
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Takes in what a reader says, until it ends.
    async fn take_in(&self, mut socket: BufReader<tokio::net::UnixStream>) -> io::Result<()> {
        let mut changes = Changes { is_whole: true, ..Changes::default() };
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut socket).take(LONGEST).read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match serde_json::from_slice(&line)? {
                Said::Gone(entries) => changes.gone.extend(entries),
                Said::New(entries) => changes.new.extend(entries),
                Said::Done => {
                    self.vms.borrow_mut().set_leases(std::mem::take(&mut changes));
                    self.vms_changed.notify_one();
                }
            }
            if changes.gone.len().max(changes.new.len()) > MOST {
                return Err(ErrorKind::InvalidData.into());
            }
            // All else goes on meanwhile.
            yield_now().await;
        }
    }
}

/// Tells the daemon on standard input, a socket, until it closes its end.
pub fn main() -> ExitCode {
    // One that hangs in a file system hears of it when that answers again.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    match socket.and_then(|socket| tell(&socket, Path::new("/"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn tell(mut socket: &UnixStream, root: &Path) -> io::Result<()> {
    let mut files = LeaseFiles::open(root);
    let mut told: Option<HashSet<Entry>> = None;
    let mut allowance = Allowance::new(Instant::now());
    let mut began = processor_time();
    loop {
        if files.read() || told.is_none() {
            let now: HashSet<_> = files.entries().take(MOST).collect();
            let before = told.unwrap_or_default();
            say(&mut socket, Said::Gone, before.difference(&now))?;
            say(&mut socket, Said::New, now.difference(&before))?;
            write(&mut socket, &Said::Done)?;
            told = Some(now);
        }
        let spent = processor_time();
        let pause = allowance.spend(spent.saturating_sub(began), Instant::now());
        began = spent;
        if has_ended(&files, socket, pause)? {
            return Ok(());
        }
    }
}

fn say<'a>(
    socket: &mut impl Write,
    said: fn(Vec<Entry>) -> Said,
    entries: impl Iterator<Item = &'a Entry>,
) -> io::Result<()> {
    let entries: Vec<_> = entries.copied().collect();
    entries.chunks(BATCH).try_for_each(|batch| write(socket, &said(batch.to_vec())))
}

fn write(socket: &mut impl Write, said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// Waits until the files are to be read again, but not before this time has passed; returns whether nobody listens any more.
fn has_ended(files: &LeaseFiles, socket: &UnixStream, pause: Duration) -> io::Result<bool> {
    let is_over = |socket: &UnixStream, time| wait([PollFd::new(socket, PollFlags::IN)].as_mut_slice(), time);
    if !pause.is_zero() && is_over(socket, Some(pause))? {
        return Ok(true);
    }
    let Some(watch) = files.watch() else { return is_over(socket, Some(UNWATCHED)) };
    let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::from_borrowed_fd(watch, PollFlags::IN)];
    wait(&mut both, None)?;
    let [listener, _] = both;
    Ok(!listener.revents().is_empty() || is_over(socket, Some(GATHER))?)
}

/// Waits for one of these; returns whether there is one.
fn wait(descriptors: &mut [PollFd<'_>], time: Option<Duration>) -> io::Result<bool> {
    let time = time.map(Timespec::try_from).transpose().map_err(|_| ErrorKind::InvalidInput)?;
    Ok(poll(descriptors, time.as_ref())? > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};

    use super::*;

    fn said(reader: &mut impl BufRead) -> Said {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn entry(last: u8) -> Entry {
        let lease = serde_json::json!({"ip": format!("10.0.0.{last}"), "mac": [82, 84, 0, 18, 0, last], "ends": null});
        serde_json::from_value(serde_json::json!({"on": null, "lease": lease})).unwrap()
    }

    #[test]
    fn what_comes_and_goes_is_told_in_bearable_lines_until_nobody_listens() {
        let root = std::env::temp_dir().join(format!("lease-reader-{}", std::process::id()));
        let directory = root.join("var/lib/misc");
        fs::create_dir_all(&directory).unwrap();
        // The last byte of the address is that of the hardware address; the last of all are of others.
        let line = |last: u32| match last {
            0..250 => format!("0 52:54:00:12:00:{last:02x} 10.0.0.{last} * *\n"),
            _ => format!(
                "0 52:54:00:13:{:02x}:{:02x} 10.1.{}.{} * *\n",
                last / 250,
                last % 250,
                last / 250,
                last % 250
            ),
        };
        let write = |lines: std::ops::Range<u32>| {
            fs::write(directory.join("new"), lines.map(line).collect::<String>()).unwrap();
            fs::rename(directory.join("new"), directory.join("dnsmasq.leases")).unwrap();
        };
        write(1..601);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let place = root.clone();
        let reader = std::thread::spawn(move || tell(&theirs, &place).map_err(|error| error.kind()));
        let mut lines = BufReader::new(ours);
        let mut new = Vec::new();
        for expected in [BATCH, BATCH, 600 - 2 * BATCH] {
            let Said::New(entries) = said(&mut lines) else { panic!() };
            assert_eq!(entries.len(), expected);
            new.extend(entries);
        }
        assert_eq!(said(&mut lines), Said::Done);
        assert_eq!(new.iter().collect::<HashSet<_>>().len(), 600);
        assert!((1..250).map(entry).all(|entry| new.contains(&entry)));
        write(2..601);
        assert_eq!(said(&mut lines), Said::Gone(vec![entry(1)]));
        assert_eq!(said(&mut lines), Said::Done);
        write(1..601);
        assert_eq!(said(&mut lines), Said::New(vec![entry(1)]));
        assert_eq!(said(&mut lines), Said::Done);
        drop(lines);
        assert_eq!(reader.join().unwrap(), Ok(()));
        fs::remove_dir_all(&root).unwrap();
    }
}
