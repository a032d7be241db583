//! The closer at work, on descriptors whose close lasts. Without a harness: the closer is forked while there is one thread.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test, which clippy takes for none without a harness"
)]

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use closer::{Closer, Line, Received, WORKERS_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, setrlimit};

/// No step takes as long, even in an emulator or on a machine with much else to do; no test waits longer.
const DEADLINE: Duration = Duration::from_secs(120);

fn main() {
    // A descriptor that the closer must not have.
    let (kept, mut watched) = UnixStream::pair().unwrap();
    let closer = closer::start().unwrap();
    it_has_nothing_of_the_daemons(kept, &mut watched);
    println!("ok it has nothing of the daemon's");
    a_close_that_lasts_holds_up_nobody(&closer);
    println!("ok a close that lasts holds up nobody");
    pidfds_come_back_and_strangers_do_not(&closer);
    println!("ok pidfds come back and strangers do not");
    what_there_is_no_room_for_is_read_all_the_same(&closer);
    println!("ok what there is no room for is read all the same");
    more_than_can_be_closed_is_held_and_closed_later(&closer);
    println!("ok more than can be closed is held and closed later");
    drop(closer);
    until("its end", || processes().is_empty());
    println!("ok it ends with the daemon");
}

fn it_has_nothing_of_the_daemons(kept: UnixStream, watched: &mut UnixStream) {
    drop(kept);
    watched.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(watched.read(&mut [0]).unwrap(), 0);
    until("the closer and its worker", || processes().len() == 2);
    for pid in processes() {
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().collect();
        assert!(open.len() <= 7, "{pid} has {} descriptors", open.len());
    }
}

fn a_close_that_lasts_holds_up_nobody(closer: &Closer) {
    let mut others = Vec::new();
    for _ in 0..3 {
        let Lingering { socket, other } = Lingering::new();
        closer.close(socket, ());
        others.push(other);
    }
    until("three that linger", || processes().len() == 5);
    // While they linger, a plain one is closed.
    let (ours, mut watched) = UnixStream::pair().unwrap();
    closer.close(ours.into(), ());
    watched.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(watched.read(&mut [0]).unwrap(), 0);
    // They are killed in time, which ends their waiting.
    until("the end of those that lingered", || processes().len() == 2);
    drop(others);
}

fn pidfds_come_back_and_strangers_do_not(closer: &Closer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let (stranger, mut watched) = UnixStream::pair().unwrap();
    let Lingering { socket, other } = Lingering::new();
    send(&theirs, &[socket.as_fd(), own.as_fd(), stranger.as_fd()]);
    drop((socket, stranger));
    send(&theirs, &[theirs.as_fd(), own.as_fd(), theirs.as_fd()]);
    send(&theirs, &[own.as_fd()]);
    // Nor does the one that lingers keep what follows from being read.
    let names = ["/dev/null", "anon_inode:[pidfd]", "/dev/null"];
    for expected in [&names[..], &names[..], &names[1..2]] {
        let mut buffer = [0; 100];
        let answer = ask(closer, &ours, buffer.len());
        let got = Received::of(&answer, &mut buffer).unwrap();
        assert_eq!(&buffer[..got.length], b"hello");
        assert_eq!(got.descriptors.iter().map(name).collect::<Vec<_>>(), expected);
    }
    watched.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(watched.read(&mut [0]).unwrap(), 0);
    // What cannot be read is an error, and nothing to wait for.
    let answer = ask(closer, &ours, 100);
    let error = Received::of(&answer, &mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    until("the end of those that lingered", || processes().len() == 2);
    drop(other);
}

fn what_there_is_no_room_for_is_read_all_the_same(closer: &Closer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let line = Line::new().unwrap();
    send(&theirs, &[theirs.as_fd(), theirs.as_fd(), theirs.as_fd()]);
    send(&theirs, &[theirs.as_fd()]);
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limits }).unwrap();
    let mut all = Vec::new();
    while let Ok(one) = ours.as_fd().try_clone_to_owned() {
        all.push(one);
    }
    let refused = Line::new().is_err();
    closer.way().receive(ours.as_fd(), 100, &line).unwrap();
    // The other end leaves room for one.
    let answer = line.into_answer();
    wait_for(&answer);
    let mut buffer = [0; 100];
    let got = Received::of(&answer, &mut buffer).unwrap();
    setrlimit(Resource::Nofile, limits).unwrap();
    assert!(refused);
    assert_eq!((&buffer[..got.length], got.descriptors.len(), got.is_short), (&b"hello"[..], 1, true));
    // What follows comes with all that it has.
    let answer = ask(closer, &ours, buffer.len());
    let got = Received::of(&answer, &mut buffer).unwrap();
    assert_eq!((&buffer[..got.length], got.descriptors.len(), got.is_short), (&b"hello"[..], 1, false));
    until("the end of those that closed", || processes().len() == 2);
}

fn more_than_can_be_closed_is_held_and_closed_later(closer: &Closer) {
    let shares = Rc::new(());
    let mut others = Vec::new();
    let all = WORKERS_MAX + 300;
    for _ in 0..all {
        let Lingering { socket, other } = Lingering::new();
        closer.close(socket, shares.clone());
        others.push(other);
    }
    assert!(closer.held() > 0 && closer.held() < all);
    assert_eq!(Rc::strong_count(&shares), closer.held() + 1);
    assert!(processes().len() <= WORKERS_MAX + 2);
    until("all to be passed on", || !closer.pass_on());
    assert_eq!(Rc::strong_count(&shares), 1);
    until("all to be closed", || processes().len() == 2);
}

/// A TCP socket whose last close waits for an hour, and what keeps it from being done earlier.
struct Lingering {
    socket: OwnedFd,
    other: TcpStream,
}

impl Lingering {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_socket_recv_buffer_size(&listener, 2048).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        set_socket_linger(&socket, Some(Duration::from_secs(3600))).unwrap();
        set_socket_send_buffer_size(&socket, 4096).unwrap();
        socket.set_nonblocking(true).unwrap();
        while (&socket).write(&[0; 65536]).is_ok() {}
        Self { socket: socket.into(), other }
    }
}

/// Has the closer read, and waits for its answer.
fn ask(closer: &Closer, connection: &UnixStream, most: usize) -> OwnedFd {
    let line = Line::new().unwrap();
    closer.way().receive(connection.as_fd(), most, &line).unwrap();
    let answer = line.into_answer();
    wait_for(&answer);
    answer
}

fn send(socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(socket, &[IoSlice::new(b"hello")], &mut ancillary, SendFlags::empty()).unwrap();
}

fn name(descriptor: &OwnedFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap();
    link.to_str().unwrap().to_owned()
}

fn wait_for(descriptor: &OwnedFd) {
    let deadline = Timespec::try_from(DEADLINE).unwrap();
    let ready = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&deadline));
    assert_eq!(ready, Ok(1));
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

/// The processes that descend from this one, those that have ended left out.
fn processes() -> Vec<i32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        if fields[0] != "Z" {
            parents.push((pid, fields[1].parse::<i32>().unwrap()));
        }
    }
    let mut found = vec![i32::try_from(std::process::id()).unwrap()];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        at += 1;
    }
    found.remove(0);
    found
}
