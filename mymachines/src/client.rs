//! One call over Varlink, to whoever serves a socket, with a deadline.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde_json::{Map, Value};

/// The socket of machined.
pub const MACHINED: &str = "/run/systemd/machine/io.systemd.Machine";
/// The longest answer that is taken, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Why a call has no good answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens there.
    NobodyThere(io::Error),
    /// Somebody may listen, who does not answer in time.
    NoAnswer(Duration),
    /// What came back is no answer.
    Nonsense(String),
    /// The answer is an error: its id, and its fields.
    Refused(String, Map<String, Value>),
}

/// A connection to a service.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    begun: Instant,
    patience: Duration,
}

impl Client {
    /// Connects; all calls over this together take `patience` at most.
    ///
    /// # Errors
    /// [`CallError::NobodyThere`], [`CallError::NoAnswer`].
    pub fn connect(path: &str, patience: Duration) -> Result<Self, CallError> {
        let begun = Instant::now();
        let failed = |errno: Errno| CallError::NobodyThere(errno.into());
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        // A connection would wait for a listener whose queue is full, for as long as it takes.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
        match connect(socket.as_fd(), &address) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(CallError::NoAnswer(Duration::ZERO)),
            Err(errno) => return Err(failed(errno)),
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false).map_err(CallError::NobodyThere)?;
        Ok(Self { stream, begun, patience })
    }

    /// Calls a method and waits for its one answer.
    ///
    /// # Errors
    /// All of [`CallError`].
    pub fn call(
        &mut self,
        method: &str,
        parameters: Map<String, Value>,
    ) -> Result<Map<String, Value>, CallError> {
        let mut message = Map::new();
        message.insert("method".into(), method.into());
        message.insert("parameters".into(), parameters.into());
        let mut text = Value::Object(message).to_string().into_bytes();
        text.push(0);
        self.stream.set_write_timeout(Some(self.left()?)).map_err(CallError::NobodyThere)?;
        self.stream.write_all(&text).map_err(|error| self.failed(error))?;
        let mut answer = Vec::new();
        let mut piece = [0_u8; 4096];
        while answer.last() != Some(&0) {
            self.stream.set_read_timeout(Some(self.left()?)).map_err(CallError::NobodyThere)?;
            let length = match self.stream.read(&mut piece) {
                Ok(0) => return Err(CallError::Nonsense("the connection was closed".into())),
                Ok(length) => length,
                Err(error) => return Err(self.failed(error)),
            };
            answer.extend_from_slice(piece.get(..length).unwrap_or_default());
            if answer.len() > ANSWER_MAX {
                return Err(CallError::Nonsense("the answer is too long".into()));
            }
        }
        answer.pop();
        read_answer(&answer)
    }

    fn left(&self) -> Result<Duration, CallError> {
        let left = self.patience.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero());
        left.ok_or(CallError::NoAnswer(self.patience))
    }

    fn failed(&self, error: io::Error) -> CallError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::NoAnswer(self.patience),
            _ => CallError::NobodyThere(error),
        }
    }
}

fn read_answer(text: &[u8]) -> Result<Map<String, Value>, CallError> {
    let nonsense = || CallError::Nonsense("the answer is no Varlink message".into());
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(text) else { return Err(nonsense()) };
    let parameters = match answer.remove("parameters") {
        Some(Value::Object(parameters)) => parameters,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(nonsense()),
    };
    match answer.remove("error") {
        Some(Value::String(id)) => Err(CallError::Refused(id, parameters)),
        None | Some(Value::Null) => Ok(parameters),
        Some(_) => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A service that reads one message and answers with these bytes, if there are any; then it waits for the client.
    fn service(name: &str, answer: Option<&'static [u8]>) -> (String, thread::JoinHandle<Vec<u8>>) {
        let path = std::env::temp_dir().join(format!("mymachines-client-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let served = path.clone();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut message, mut byte) = (Vec::new(), [0]);
            while stream.read(&mut byte).unwrap() == 1 && byte[0] != 0 {
                message.push(byte[0]);
            }
            if let Some(answer) = answer {
                stream.write_all(answer).unwrap();
            } else {
                let _ = stream.read(&mut byte);
            }
            let _ = std::fs::remove_file(served);
            message
        });
        (path, thread)
    }

    fn call(path: &str, patience: Duration) -> Result<Map<String, Value>, CallError> {
        Client::connect(path, patience)?.call("a.B", Map::new())
    }

    #[test]
    fn a_call_is_json_and_a_zero_byte() {
        let (path, service) = service("good", Some(b"{\"parameters\":{\"x\":1}}\0"));
        assert_eq!(call(&path, Duration::from_secs(60)).unwrap()["x"], 1);
        assert_eq!(service.join().unwrap(), b"{\"method\":\"a.B\",\"parameters\":{}}");
    }

    #[test]
    fn an_error_has_its_fields() {
        let (path, service) = service("error", Some(b"{\"error\":\"a.E\",\"parameters\":{\"why\":\"x\"}}\0"));
        let Err(CallError::Refused(id, fields)) = call(&path, Duration::from_secs(60)) else { panic!() };
        assert_eq!((id.as_str(), &fields["why"]), ("a.E", &Value::from("x")));
        service.join().unwrap();
    }

    #[test]
    fn nonsense_is_no_answer() {
        for (name, answer) in [("a", &b"\0"[..]), ("b", b"[]\0"), ("c", b"{\"error\":1}\0"), ("d", b"{")] {
            let (path, service) = service(name, Some(answer));
            assert!(matches!(call(&path, Duration::from_secs(60)), Err(CallError::Nonsense(_))), "{name}");
            service.join().unwrap();
        }
    }

    #[test]
    fn who_does_not_answer_is_given_up() {
        let (path, service) = service("silent", None);
        assert!(matches!(call(&path, Duration::from_millis(50)), Err(CallError::NoAnswer(_))));
        service.join().unwrap();
    }

    #[test]
    fn where_nobody_listens_nobody_is_there() {
        assert!(matches!(
            call("/nonexistent/socket", Duration::from_secs(60)),
            Err(CallError::NobodyThere(_))
        ));
    }
}
