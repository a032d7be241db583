//! One call over Varlink, to whoever serves a socket, with a deadline.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use varlink_client::{Client, Error, Patience};

/// The socket of the system's machined.
pub const MACHINED: &str = "/run/systemd/machine/io.systemd.Machine";
/// How long a service has to let a client in, at most.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a call has no good answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens there.
    NobodyThere(io::Error),
    /// Somebody listens, and lets nobody in.
    Full,
    /// Somebody may listen, who does not answer in time.
    NoAnswer(Duration),
    /// What came back is no answer.
    Nonsense(String),
    /// The answer is an error: its id, and its fields.
    Refused(String, Map<String, Value>),
}

/// Calls a method and waits for its one answer, for so long at most.
///
/// # Errors
/// All of [`CallError`].
pub fn call(
    path: &str,
    patience: Duration,
    method: &str,
    parameters: &Map<String, Value>,
) -> Result<Map<String, Value>, CallError> {
    call_for_descriptors(path, patience, method, parameters).map(|(fields, _)| fields)
}

/// Calls a method whose answer comes with descriptors.
///
/// # Errors
/// All of [`CallError`].
pub fn call_for_descriptors(
    path: &str,
    patience: Duration,
    method: &str,
    parameters: &Map<String, Value>,
) -> Result<(Map<String, Value>, Vec<OwnedFd>), CallError> {
    let waits = Patience { connect: Some(patience.min(CONNECT)), reply: Some(patience) };
    let reply =
        Client::connect(Path::new(path), waits).and_then(|mut client| client.call(method, parameters));
    let reply = reply.map_err(|error| failed(error, patience))?;
    Ok((object(reply.parameters)?, reply.descriptors))
}

/// Calls a method and waits for all of its answers, for so long at most between two of them.
///
/// # Errors
/// All of [`CallError`]; what was answered before is lost.
pub fn call_for_all(
    path: &str,
    patience: Duration,
    method: &str,
    parameters: &Map<String, Value>,
) -> Result<Vec<Map<String, Value>>, CallError> {
    let mut all = Vec::new();
    call_for_each(path, patience, method, parameters, |reply| all.push(reply))?;
    Ok(all)
}

/// Calls a method and does something with each of its answers as it comes, for which the service has so long at most.
///
/// # Errors
/// All of [`CallError`], after any number of answers.
pub fn call_for_each(
    path: &str,
    patience: Duration,
    method: &str,
    parameters: &Map<String, Value>,
    mut each: impl FnMut(Map<String, Value>),
) -> Result<(), CallError> {
    let waits = Patience { connect: Some(patience.min(CONNECT)), reply: Some(patience) };
    let failed = |error| failed(error, patience);
    let mut client = Client::connect(Path::new(path), waits).map_err(failed)?;
    for reply in client.stream(method, parameters).map_err(failed)? {
        each(object(reply.map_err(failed)?.parameters)?);
    }
    Ok(())
}

fn failed(error: Error, patience: Duration) -> CallError {
    match error {
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => CallError::Full,
        Error::Connect { source, .. } | Error::Io(source) => CallError::NobodyThere(source),
        Error::TooLate => CallError::NoAnswer(patience),
        Error::Refused { id, parameters } => match object(parameters) {
            Ok(fields) => CallError::Refused(id, fields),
            Err(nonsense) => nonsense,
        },
        other => CallError::Nonsense(other.to_string()),
    }
}

fn object(value: Value) -> Result<Map<String, Value>, CallError> {
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(CallError::Nonsense("its fields are no object".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// A service that reads one message and answers with these bytes, if there are any; then it waits for the client.
    fn service(name: &str, answer: Option<&'static [u8]>) -> (String, thread::JoinHandle<()>) {
        let path = std::env::temp_dir().join(format!("mymachines-client-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let served = path.clone();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 && byte[0] != 0 {}
            if let Some(answer) = answer {
                stream.write_all(answer).unwrap();
            } else {
                let _ = stream.read(&mut byte);
            }
            let _ = std::fs::remove_file(served);
        });
        (path, thread)
    }

    fn called(
        name: &str,
        answer: Option<&'static [u8]>,
        patience: Duration,
    ) -> Result<Map<String, Value>, CallError> {
        let (path, service) = service(name, answer);
        let result = call(&path, patience, "a.B", &Map::new());
        service.join().unwrap();
        result
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn answers_and_errors_have_their_fields() {
        assert_eq!(called("good", Some(b"{\"parameters\":{\"x\":1}}\0"), LONG).unwrap()["x"], 1);
        let error = called("error", Some(b"{\"error\":\"a.E\",\"parameters\":{\"why\":\"x\"}}\0"), LONG);
        let Err(CallError::Refused(id, fields)) = error else { panic!("no error") };
        assert_eq!((id.as_str(), &fields["why"]), ("a.E", &Value::from("x")));
    }

    #[test]
    fn nonsense_is_no_answer() {
        for (name, answer) in [("a", &b"\0"[..]), ("b", b"[]\0"), ("c", b"{\"error\":1}\0"), ("d", b"{")] {
            assert!(matches!(called(name, Some(answer), LONG), Err(CallError::Nonsense(_))), "{name}");
        }
    }

    #[test]
    fn who_does_not_answer_is_given_up() {
        assert!(matches!(called("silent", None, Duration::from_millis(50)), Err(CallError::NoAnswer(_))));
    }

    #[test]
    fn where_nobody_listens_nobody_is_there() {
        let result = call("/nonexistent/socket", LONG, "a.B", &Map::new());
        assert!(matches!(result, Err(CallError::NobodyThere(_))));
    }
}
