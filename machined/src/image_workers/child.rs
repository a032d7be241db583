//! The worker's side: a process that does what the daemon asks for with images, one thing after the other, and ends with
//! the daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use images::{Image, ImageName, Places, Teller, User};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::request::{Answer, Failure, Metadata, Request, Update};
use crate::os_release;

/// How many images are told of at a time.
const BATCH: usize = 128;
/// The longest request, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Serves the daemon on standard input, a socket, until it closes its end.
pub fn main() -> ExitCode {
    // A worker that hangs in a file system hears of it when that answers again.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut words = std::env::args().skip(2);
    // The directories of the user whose images they are.
    let places = match [words.next(), words.next(), words.next(), words.next()] {
        [Some(runtime), Some(state), Some(settings), Some(library)] => {
            Places::of(User { runtime, state, settings, library })
        }
        _ => Places::system(),
    };
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let socket = UnixStream::from(socket);
    let Ok(writer) = socket.try_clone() else { return ExitCode::FAILURE };
    match serve(BufReader::new(socket), writer, &places) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(mut requests: impl BufRead, mut writer: impl Write, places: &Places) -> std::io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if requests.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_str(&line)?;
        let mut told = Ok(());
        let mut tell = |answer: Answer| {
            if told.is_ok() {
                told = say(&mut writer, &answer);
            }
        };
        let last = match answer(&request, places, &mut tell) {
            Ok(()) => Answer::Done,
            Err(failure) => Answer::Failed(failure),
        };
        tell(last);
        told?;
    }
}

fn say(writer: &mut impl Write, answer: &Answer) -> std::io::Result<()> {
    let mut packed = Vec::new();
    if let Answer::Images(images) = answer {
        images.iter().for_each(|image| images::pack(image, &mut packed));
    }
    let mut line = match answer {
        Answer::Images(_) => serde_json::to_vec(&Answer::Packed(packed.len()))?,
        answer => serde_json::to_vec(answer)?,
    };
    line.push(b'\n');
    line.append(&mut packed);
    writer.write_all(&line)
}

fn answer(request: &Request, places: &Places, tell: &mut impl FnMut(Answer)) -> Result<(), Failure> {
    match request {
        Request::List => {
            let mut batch: Vec<Image> = Vec::new();
            images::list(places, |image| {
                batch.push(image);
                if batch.len() >= BATCH {
                    tell(Answer::Images(std::mem::take(&mut batch)));
                }
            })?;
            tell(Answer::Images(batch));
        }
        Request::Find(name) => tell(Answer::Images(vec![find(places, name)?])),
        Request::Pool => tell(Answer::Pool(images::pool(places)?)),
        Request::Metadata(name) => {
            let files = images::metadata(places, &find(places, name)?, &reader())?;
            tell(Answer::Metadata(Box::new(checked(files))));
        }
        Request::Update(name, update) => change(places, find(places, name)?, update)?,
        Request::Clone { name, new, read_only, counts } => {
            let mut tell = |progress| tell(Answer::Progress(progress));
            let mut teller = Teller::new(*counts, &mut tell);
            images::clone(places, &find(places, name)?, &ImageName::new(new)?, *read_only, &mut teller)?;
        }
        Request::Remove { name, counts } => {
            let mut tell = |progress| tell(Answer::Progress(progress));
            images::remove(places, &find(places, name)?, &mut Teller::new(*counts, &mut tell))?;
        }
        Request::LimitPool(limit) => images::set_pool_limit(places, *limit)?,
        Request::Clean { only_hidden } => {
            let removed = |name, usage| tell(Answer::Removed(name, usage));
            images::clean(places, *only_hidden, removed).map_err(|(image, error)| Failure {
                image: Some(image).filter(|image| !image.is_empty()),
                ..Failure::from(error)
            })?;
        }
        Request::Tidy => {
            let removed = images::tidy(places)?;
            if removed > 0 {
                tell(Answer::Removed(removed.to_string(), None));
            }
        }
    }
    Ok(())
}

/// Changes an image: the name first, and if that cannot be, nothing; the others both, and what fails first is told.
fn change(places: &Places, mut image: Image, update: &Update) -> images::Result<()> {
    if let Some(name) = &update.name {
        let name = ImageName::new(name)?;
        images::rename(places, &image, &name)?;
        image = images::find(places, &name)?;
    }
    let read_only = update.read_only.map(|read_only| images::set_read_only(places, &image, read_only));
    let limit = update.limit.map(|limit| images::set_limit(&image, limit));
    read_only.unwrap_or(Ok(())).and(limit.unwrap_or(Ok(())))
}

/// The program that reads disks, which is installed beside this one.
fn reader() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("machined-image-reader")
}

/// A name that no image can have is that of none.
fn find(places: &Places, name: &str) -> images::Result<Image> {
    let missing = |_| images::Error::NoSuchImage(name.to_owned());
    images::find(places, &ImageName::new(name).map_err(missing)?)
}

/// What the files say. One that says nothing, or what no reply can carry, is as good as missing.
fn checked(files: images::Metadata) -> Metadata {
    let fields = |text: Option<Vec<u8>>| text.and_then(|text| os_release::parse(&text).ok());
    Metadata {
        hostname: files.hostname.as_deref().and_then(hostname),
        machine_id: files.machine_id.as_deref().and_then(machine_id),
        machine_info: fields(files.machine_info),
        os_release: fields(files.os_release),
    }
}

/// The first line that is neither empty nor a comment, hostname(5), if it is a host's name.
fn hostname(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_good) && !label.starts_with('-') && !label.ends_with('-')
    };
    (name.len() <= 64 && name.split('.').all(is_label)).then(|| name.to_owned())
}

/// 32 hexadecimal digits, which are not all zeros, and the end of the line, machine-id(5).
fn machine_id(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text.strip_suffix(b"\n").unwrap_or(text)).ok()?;
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && text.bytes().any(|byte| byte != b'0')).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// What a worker has said.
    fn told(mut written: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(end) = written.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = written.split_at(end + 1);
            written = rest;
            answers.push(match serde_json::from_slice(line).unwrap() {
                Answer::Packed(length) => {
                    let (packed, rest) = written.split_at(length);
                    written = rest;
                    Answer::Images(images::unpack(packed).unwrap())
                }
                answer => answer,
            });
        }
        assert!(written.is_empty());
        answers
    }

    #[test]
    fn requests_are_answered_one_after_the_other_until_there_are_no_more() {
        let root = std::env::temp_dir().join(format!("image-worker-{}", std::process::id()));
        let pool = root.join("var/lib/machines");
        for number in 0..300 {
            std::fs::create_dir_all(pool.join(format!("web{number}/etc"))).unwrap();
        }
        std::fs::write(pool.join("web1/etc/hostname"), "# the name\n\nweb.example.\n").unwrap();
        std::fs::write(pool.join("web1/etc/os-release"), "ID=\u{1b}[2J\n").unwrap();
        let places = Places::below(root.to_str().unwrap());
        let requests = [
            Request::List,
            Request::Find("web1".to_owned()),
            Request::Find("none".to_owned()),
            Request::Find("a/b".to_owned()),
            Request::Metadata("web1".to_owned()),
            Request::Pool,
        ];
        let text: String =
            requests.iter().map(|request| serde_json::to_string(request).unwrap() + "\n").collect();
        let mut written = Vec::new();
        serve(text.as_bytes(), &mut written, &places).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let mut answers = told(&written).into_iter();
        let mut listed = Vec::new();
        let end = answers.find(|answer| match answer {
            Answer::Images(images) => {
                assert!(images.len() <= BATCH);
                listed.extend(images.iter().map(|image| image.name.clone()));
                false
            }
            _ => true,
        });
        assert_eq!((end, listed.len()), (Some(Answer::Done), 301));
        let Some(Answer::Images(found)) = answers.next() else { panic!("no image") };
        assert_eq!(found.first().map(|image| image.name.as_str()), Some("web1"));
        assert_eq!(answers.next(), Some(Answer::Done));
        for name in ["none", "a/b"] {
            let Some(Answer::Failed(failure)) = answers.next() else { panic!("{name} was found") };
            assert!(failure.no_such_image && failure.text.contains(name), "{failure:?}");
        }
        let Some(Answer::Metadata(metadata)) = answers.next() else { panic!("no metadata") };
        let expected = Metadata { hostname: Some("web.example".to_owned()), ..Metadata::default() };
        assert_eq!(*metadata, expected);
        assert_eq!(answers.next(), Some(Answer::Done));
        assert_eq!(answers.next(), Some(Answer::Pool(images::Pool::default())));
        assert_eq!(answers.next(), Some(Answer::Done));
        assert_eq!(answers.next(), None);
    }

    fn answers(places: &Places, requests: &[Request]) -> Vec<Answer> {
        let text: String =
            requests.iter().map(|request| serde_json::to_string(request).unwrap() + "\n").collect();
        let mut written = Vec::new();
        serve(text.as_bytes(), &mut written, places).unwrap();
        told(&written)
    }

    #[test]
    fn changes_are_made_one_after_the_other_and_a_name_that_cannot_be_stops_them() {
        let root = std::env::temp_dir().join(format!("image-changes-{}", std::process::id()));
        let pool = root.join("var/lib/machines");
        std::fs::create_dir_all(pool.join("taken")).unwrap();
        std::fs::write(pool.join("disk.raw"), "disk").unwrap();
        let places = Places::below(root.to_str().unwrap());
        let update = |name: &str, update| Request::Update(name.to_owned(), update);
        let renamed =
            |name: &str| Update { name: Some(name.to_owned()), read_only: Some(true), ..Update::default() };
        let no_limit = Update { limit: Some(None), read_only: Some(false), ..Update::default() };
        let remove = Request::Remove { name: "new".to_owned(), counts: false };
        let answers = answers(
            &places,
            &[
                update("disk", renamed("taken")),
                update("disk", renamed("new")),
                update("new", no_limit),
                Request::Clone {
                    name: "new".to_owned(),
                    new: "copy".to_owned(),
                    read_only: true,
                    counts: true,
                },
                remove.clone(),
                remove,
                Request::LimitPool(None),
                Request::Clean { only_hidden: true },
                Request::Clean { only_hidden: false },
                Request::Tidy,
            ],
        );
        let left = std::fs::read_dir(&pool).unwrap().count();
        std::fs::remove_dir_all(&root).unwrap();
        let (mut removed, mut told) = (Vec::new(), Vec::new());
        let ends = answers.iter().filter_map(|answer| match answer {
            Answer::Removed(name, _) => {
                removed.push(name.clone());
                None
            }
            Answer::Progress(progress) => {
                told.push((progress.bytes, progress.files, progress.total));
                None
            }
            Answer::Done => Some("done"),
            Answer::Failed(failure) => Some(match failure.errno() {
                Errno::EXIST => "exists",
                Errno::OPNOTSUPP => "not supported",
                Errno::NOENT if failure.no_such_image => "no image",
                _ => "failed",
            }),
            _ => Some("strange"),
        });
        let ends: Vec<_> = ends.collect();
        let expected = [
            "exists",
            "done",
            "not supported",
            "done",
            "done",
            "no image",
            "not supported",
            "done",
            "done",
            "done",
        ];
        assert_eq!(ends, expected, "{answers:?}");
        assert_eq!(told, [(0, 0, Some((4, 1))), (4, 1, Some((4, 1))), (4, 1, None)]);
        removed.sort();
        assert_eq!((removed, left), (vec!["copy".to_owned(), "taken".to_owned()], 0));
    }

    #[test]
    fn what_is_no_hostname_or_machine_id_is_none() {
        assert_eq!(hostname(b"a_b-c\nd\n").as_deref(), Some("a_b-c"));
        for bad in [&b""[..], b"#x\n", b"a b\n", b"-a\n", b"a..b\n", b"\xff\n", b"a\0b\n", &[b'a'; 65]] {
            assert_eq!(hostname(bad), None, "{bad:?}");
        }
        let id = "0123456789ABCDEF0123456789abcdef";
        assert_eq!(machine_id(id.as_bytes()), Some(id.to_ascii_lowercase()));
        assert_eq!(machine_id(format!("{id}\n").as_bytes()), Some(id.to_ascii_lowercase()));
        for bad in ["uninitialized\n", &id[1..], &format!("{id}\n\n"), &"0".repeat(32), ""] {
            assert_eq!(machine_id(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
