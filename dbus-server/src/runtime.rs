//! What a connection to a bus needs of tokio, so that it is woken by what comes in alone.
//!
//! zbus's own registration of a socket waits for both directions, and is woken each time the bus has read what was
//! sent: once more per call for nothing. Here a message is written at once, and only a socket that is full is waited
//! for, by a descriptor of its own, as an epoll has one entry for each.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};
use zbus::runtime::traits::{PollIo, Runtime as ZbusRuntime, TaskHandle};
use zbus::runtime::{Interest as Direction, IoSource};

/// How soon a socket whose queue was full is tried again: the kernel has only blocking connects told when there is room.
const BACKLOG: Duration = Duration::from_millis(20);

/// The runtime of a connection that lives and ends inside one tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runtime;

/// What waits for a socket.
pub struct Registration {
    reader: AsyncFd<IoSource>,
    /// There while the socket is full.
    writer: Mutex<Option<AsyncFd<OwnedFd>>>,
}

/// A task that ends with its handle.
pub struct Task<T>(Option<JoinHandle<T>>);

impl ZbusRuntime for Runtime {
    type RegisteredIoSource = Registration;
    type Sleep = Sleep;
    type Task<T>
        = Task<T>
    where
        T: Send + 'static;

    fn register_io_source(&self, source: IoSource) -> io::Result<Registration> {
        Ok(Registration { reader: watch(source, Interest::READABLE)?, writer: Mutex::default() })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn spawn<T: Send + 'static>(&self, _: &str, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        Task(Some(tokio::spawn(future)))
    }

    async fn connect_tcp(&self, address: SocketAddr) -> io::Result<IoSource> {
        let stream = TcpStream::connect(address).await?.into_std()?;
        Ok(OwnedFd::from(stream).into())
    }

    async fn connect_unix(&self, path: &Path) -> io::Result<IoSource> {
        let bytes = path.as_os_str().as_bytes();
        let address = match bytes.strip_prefix(b"\0") {
            Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name),
            None => std::os::unix::net::SocketAddr::from_pathname(path),
        }?;
        let address = tokio::net::unix::SocketAddr::from(address);
        loop {
            match UnixStream::connect_addr(&address).await {
                // Tokio does not wait for a place in the queue.
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(BACKLOG).await,
                connected => return Ok(OwnedFd::from(connected?.into_std()?).into()),
            }
        }
    }

    fn spawn_process(
        &self,
        _: Command,
        _: Stdio,
        _: Stdio,
        _: Stdio,
    ) -> io::Result<Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send + 'static>>> {
        // An address that is a program, which this build of zbus knows nothing of.
        Err(ErrorKind::Unsupported.into())
    }
}

impl PollIo for Registration {
    fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        direction: Direction,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if direction != Direction::Writable {
            return poll(&self.reader, Interest::READABLE, context, &mut operation);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            match operation() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
        let waiting = match &mut *writer {
            Some(waiting) => waiting,
            none => {
                let socket = self.reader.get_ref().as_fd().try_clone_to_owned()?;
                none.insert(watch(socket, Interest::WRITABLE)?)
            }
        };
        let done = ready!(poll(waiting, Interest::WRITABLE, context, &mut operation));
        *writer = None;
        Poll::Ready(done)
    }
}

pub(crate) fn watch<D: AsRawFd>(descriptor: D, interest: Interest) -> io::Result<AsyncFd<D>> {
    #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
    AsyncFd::with_interest(descriptor, interest)
}

/// Does something with a descriptor as soon as it can be done.
fn poll<D: AsRawFd, T>(
    watched: &AsyncFd<D>,
    interest: Interest,
    context: &mut Context<'_>,
    operation: &mut impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        let mut guard = ready!(if interest.is_readable() {
            watched.poll_read_ready(context)
        } else {
            watched.poll_write_ready(context)
        })?;
        match operation() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
            done => return Poll::Ready(done),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let lost = || io::Error::other("the task is gone");
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context).map(|ended| ended.map_err(|_| lost())),
            None => Poll::Ready(Err(lost())),
        }
    }
}

impl<T: Send + 'static> TaskHandle<T> for Task<T> {
    fn detach(mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Pair;

    use super::*;

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    fn registered() -> (Registration, Pair, Pair) {
        let (ours, theirs) = Pair::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let source = OwnedFd::from(ours.try_clone().unwrap()).into();
        (Runtime.register_io_source(source).unwrap(), ours, theirs)
    }

    #[test]
    fn a_full_socket_is_waited_for_and_no_byte_is_lost() {
        block_on(async {
            let (registration, ours, mut theirs) = registered();
            let piece = [7; 4096];
            let mut sent = 0;
            let write = || (&ours).write(&piece);
            let full = poll_fn(|context| {
                loop {
                    match registration.poll_io(context, Direction::Writable, write) {
                        Poll::Ready(length) => sent += length.unwrap(),
                        Poll::Pending => return Poll::Ready(()),
                    }
                }
            });
            full.await;
            assert!(sent > 0 && registration.writer.lock().unwrap().is_some());
            let reader = std::thread::spawn(move || {
                let mut bytes = vec![0; sent];
                theirs.read_exact(&mut bytes).unwrap();
                (bytes, theirs)
            });
            let more =
                poll_fn(|context| registration.poll_io(context, Direction::Writable, write)).await.unwrap();
            assert!(more > 0 && registration.writer.lock().unwrap().is_none());
            let (bytes, mut theirs) = reader.join().unwrap();
            assert!(bytes.iter().all(|&byte| byte == 7));
            theirs.read_exact(&mut vec![0; more]).unwrap();
        });
    }

    #[test]
    fn what_comes_in_is_waited_for_and_so_is_the_end() {
        block_on(async {
            let (registration, ours, mut theirs) = registered();
            let read = || {
                let mut bytes = [0; 8];
                (&ours).read(&mut bytes)
            };
            let nothing = poll_fn(|context| {
                Poll::Ready(registration.poll_io(context, Direction::Readable, read).is_pending())
            });
            assert!(nothing.await);
            theirs.write_all(b"abc").unwrap();
            let next = || poll_fn(|context| registration.poll_io(context, Direction::Readable, read));
            assert_eq!(next().await.unwrap(), 3);
            drop(theirs);
            assert_eq!(next().await.unwrap(), 0);
        });
    }

    #[test]
    fn a_task_ends_with_its_handle_unless_it_is_let_go() {
        block_on(async {
            assert_eq!(Runtime.spawn("sum", async { 1 + 1 }).await.unwrap(), 2);
            for (lets_go, is_done) in [(true, true), (false, false)] {
                let (done, mut hears) = tokio::sync::oneshot::channel();
                let task = Runtime.spawn("tell", async { done.send(()) });
                if lets_go {
                    task.detach();
                } else {
                    drop(task);
                }
                tokio::task::yield_now().await;
                assert_eq!(hears.try_recv().is_ok(), is_done);
            }
        });
    }

    #[test]
    fn who_listens_is_reached_by_a_path_and_by_an_abstract_name() {
        block_on(async {
            let name = format!("dbus-server-{}", std::process::id());
            let path = std::env::temp_dir().join(&name);
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            Runtime.connect_unix(&path).await.unwrap();
            listener.accept().unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(Runtime.connect_unix(&path).await.unwrap_err().kind(), ErrorKind::NotFound);
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
            Runtime.connect_unix(Path::new(&format!("\0{name}"))).await.unwrap();
            listener.accept().unwrap();
        });
    }
}
