//! What a child of the doorman does: one thing, and then it ends. Whatever it walks through may hang, and it alone.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::asked::{Asked, report};
use super::bind::bind;
use super::copied_tree::Failure;
use super::copy::copy;
use super::reader;
use super::request::{Answer, Report, Work};
use super::terminal::open_terminal;

/// Does what was asked, and says what came of it.
pub(super) fn run(asked: Asked) {
    let done = match &asked.request.work {
        _ if !asked.fds.is_empty() => Err(Errno::INVAL),
        Work::Reader => {
            reader::serve(asked.reply.as_fd());
            return;
        }
        Work::Copy(wanted) => {
            match copy(&asked, wanted) {
                Ok(Answer { bytes, .. }) => report(&asked.reply, &Report::Done(bytes), &[]),
                Err(Failure { errno, path: None }) => report(&asked.reply, &Report::Failed(errno), &[]),
                Err(Failure { errno, path: Some(path) }) => {
                    report(&asked.reply, &Report::FailedAt(errno, path), &[]);
                }
            }
            return;
        }
        Work::Root => root(&asked),
        Work::Bind(wanted) => bind(&asked, wanted),
        Work::Terminal { bus, program } => open_terminal(&asked, *bus, program.as_deref()),
    };
    match done {
        Ok(Answer { bytes, fds }) => {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            report(&asked.reply, &Report::Done(bytes), &fds);
        }
        Err(errno) => report(&asked.reply, &Report::Failed(errno), &[]),
    }
}

/// The root directory as the leader sees it, for reading.
fn root(asked: &Asked) -> Result<Answer, Errno> {
    let (pid, _) = asked.leader.as_ref().ok_or(Errno::INVAL)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
    Ok(Answer { bytes: Vec::new(), fds: vec![root] })
}
