//! `watch`: which machines come, go and change.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use libmachine::{Change, Errno, Monitor};
use registry::MACHINE_DIRECTORY;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use crate::cli;
use crate::columns::{chosen, table};
use crate::failure::Failure;
use crate::machine::{Machine, Machines};
use crate::table::{Format, Table, Value, write_csv};
use crate::whose::Whose;

/// Tells until the output ends.
///
/// # Errors
/// The registry cannot be watched, or the output not be written.
pub fn watch(options: &cli::Watch) -> Result<u8, Failure> {
    let columns = chosen(&options.columns)?;
    let mut out = io::stdout();
    let mut telling = Telling { columns, format: options.output.format, out: &mut out };
    if !options.output.no_legend {
        telling.titles()?;
    }
    let mut word = if options.all { Some("there") } else { None };
    loop {
        let (mut monitor, was_there) = monitor()?;
        if !was_there {
            // What there is in a directory that has just been made is new.
            word = Some("new");
        }
        if let Some(word) = word {
            for machine in Machines::read(&Whose::default())?.all {
                telling.tell(word, machine.record.name.as_str(), Some(&machine))?;
            }
        }
        word = Some("new");
        match follow(&mut monitor, &mut telling) {
            Err(Ended::Gone) => {}
            Err(Ended::Failed(failure)) => return Err(failure),
            Ok(never) => match never {},
        }
    }
}

enum Ended {
    /// The directory is gone.
    Gone,
    Failed(Failure),
}

enum Never {}

fn follow(monitor: &mut Monitor, telling: &mut Telling<'_>) -> Result<Never, Ended> {
    loop {
        let next = monitor.next_event().map_err(|errno| match errno {
            Errno::STALE => Ended::Gone,
            errno => Ended::Failed(cannot_watch(io::Error::from_raw_os_error(errno.0))),
        })?;
        let Some(event) = next else {
            wait(monitor).map_err(Ended::Failed)?;
            continue;
        };
        let word = match event.change {
            Change::New => "new",
            Change::Removed => "gone",
            Change::Changed => "changed",
            // What happened is lost: begin anew.
            Change::Overflow => return Err(Ended::Gone),
            _ => continue,
        };
        let Some(name) = event.name else { continue };
        // One that is gone again is told as gone next.
        let machine = if event.change == Change::Removed { None } else { Machine::read(&name).ok() };
        telling.tell(word, name.as_str(), machine.as_ref()).map_err(Ended::Failed)?;
    }
}

fn wait(monitor: &Monitor) -> Result<(), Failure> {
    wait_for(monitor.as_fd())
}

/// Waits until it is readable, or nobody reads the output any more.
fn wait_for(descriptor: BorrowedFd<'_>) -> Result<(), Failure> {
    let out = io::stdout();
    let out = out.as_fd();
    loop {
        let mut polled = [
            PollFd::from_borrowed_fd(descriptor, PollFlags::IN),
            PollFd::from_borrowed_fd(out, PollFlags::empty()),
        ];
        match poll(&mut polled, None) {
            Ok(_) if polled[1].revents().contains(PollFlags::ERR) => {
                return Err(Failure::Output(io::ErrorKind::BrokenPipe.into()));
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(cannot_watch(errno.into())),
        }
    }
}

fn cannot_watch(error: io::Error) -> Failure {
    Failure::new(format!("cannot watch {MACHINE_DIRECTORY}: {error}"))
}

/// A monitor, as soon as there is a directory to watch; and whether there was one from the start.
fn monitor() -> Result<(Monitor, bool), Failure> {
    let mut was_there = true;
    loop {
        match Monitor::new() {
            Ok(monitor) => return Ok((monitor, was_there)),
            Err(Errno::NOENT) => {
                was_there = false;
                wait_for_directory()?;
            }
            Err(errno) => return Err(cannot_watch(io::Error::from_raw_os_error(errno.0))),
        }
    }
}

/// Waits until something is made in the nearest directory above that there is.
fn wait_for_directory() -> Result<(), Failure> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|errno| cannot_watch(errno.into()))?;
    let flags = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::DELETE_SELF
        | inotify::WatchFlags::ONLYDIR;
    let above = std::path::Path::new(MACHINE_DIRECTORY).ancestors().skip(1);
    for directory in above {
        match inotify::add_watch(&watch, directory, flags) {
            Ok(_) => {
                // It may have come before it was watched for.
                let below = std::path::Path::new(MACHINE_DIRECTORY).ancestors();
                let next = below.take_while(|path| *path != directory).last();
                return if next.is_some_and(std::path::Path::is_dir) {
                    Ok(())
                } else {
                    wait_for(watch.as_fd())
                };
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(cannot_watch(errno.into())),
        }
    }
    Err(cannot_watch(io::ErrorKind::NotFound.into()))
}

/// Writes one line for each change.
struct Telling<'a> {
    columns: Vec<&'static crate::columns::Column>,
    format: Format,
    out: &'a mut dyn Write,
}

impl Telling<'_> {
    fn titles(&mut self) -> io::Result<()> {
        if self.format == Format::Csv {
            let mut titles = vec!["change"];
            titles.extend(self.columns.iter().map(|column| column.name));
            Table { titles, rows: Vec::new() }.write_titles(self.out)?;
        }
        self.out.flush()
    }

    fn tell(&mut self, change: &str, name: &str, machine: Option<&Machine>) -> Result<(), Failure> {
        let known = table(&self.columns, machine.map_or(&[], std::slice::from_ref));
        let mut row = vec![Value::text(Some(change))];
        match known.rows.into_iter().next() {
            Some(values) => row.extend(values),
            // All that is known of it is its name.
            None => {
                row.extend(self.columns.iter().map(|column| {
                    if column.name == "machine" { Value::text(Some(name)) } else { Value::None }
                }))
            }
        }
        let mut titles = vec!["change"];
        titles.extend(known.titles);
        let table = Table { titles, rows: vec![row] };
        for row in &table.rows {
            match self.format {
                Format::Table => {
                    let words: Vec<String> = row.iter().skip(1).flat_map(Value::lines).collect();
                    writeln!(self.out, "{change:<8}{}", words.join(" "))?;
                }
                Format::Csv => write_csv(self.out, row)?,
                Format::Json => writeln!(self.out, "{}", table.object(row))?,
            }
        }
        self.out.flush()?;
        Ok(())
    }
}
