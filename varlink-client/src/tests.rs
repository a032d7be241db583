//! A client and a service that says what it is told to, on one socket.

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use super::*;

const SHORT: Patience =
    Patience { connect: Some(Duration::from_secs(20)), reply: Some(Duration::from_millis(50)) };

fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::over(ours.into(), Patience::default()).unwrap(), theirs)
}

fn send_with_descriptor(service: &UnixStream, bytes: &[u8]) {
    let file = std::fs::File::open("/dev/null").unwrap();
    let descriptors = [file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(service, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty()).unwrap();
}

#[test]
fn a_call_brings_its_reply_or_the_services_own_error() {
    let (mut client, mut service) = pair();
    service
        .write_all(b"{\"parameters\":{\"a\":1}}\0{\"error\":\"x.E\",\"parameters\":{\"b\":2}}\0{}\0")
        .unwrap();
    assert_eq!(client.call("x.M", &json!({"p": 1})).unwrap().parameters, json!({"a": 1}));
    let error = client.call("x.M", &json!({})).unwrap_err();
    assert_eq!((error.id(), error.to_string()), (Some("x.E"), "x.E {\"b\":2}".to_owned()));
    assert_eq!(client.call("x.M", &json!({})).unwrap().parameters, json!({}));
    drop(client);
    let mut sent = String::new();
    service.read_to_string(&mut sent).unwrap();
    let calls: Vec<_> = sent.split_terminator('\0').collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0], r#"{"method":"x.M","parameters":{"p":1}}"#);
}

#[test]
fn descriptors_come_with_their_reply_also_where_replies_are_read_together() {
    let (mut client, mut service) = pair();
    service.write_all(b"{\"parameters\":{\"n\":0},\"continues\":true}\0").unwrap();
    send_with_descriptor(&service, b"{\"parameters\":{\"n\":1},\"continues\":true}\0");
    service.write_all(b"{\"parameters\":{\"n\":2},\"continues\":true}\0").unwrap();
    send_with_descriptor(&service, b"{\"parameters\":{\"n\":3}}\0");
    let replies = client.stream("x.M", &json!({})).unwrap();
    let counts: Vec<_> = replies.map(|reply| reply.unwrap().descriptors.len()).collect();
    assert_eq!(counts, [0, 1, 0, 1]);
}

#[test]
fn a_stream_makes_the_service_wait_for_who_reads_it() {
    let (mut client, service) = pair();
    const REPLIES: usize = 2000;
    let writer = service.try_clone().unwrap();
    writer.set_nonblocking(true).unwrap();
    let reply = format!("{{\"parameters\":{{\"x\":\"{}\"}},\"continues\":true}}\0", "y".repeat(1000));
    let mut replies = client.stream("x.M", &json!({})).unwrap();
    let mut written = 0;
    while (&writer).write(reply.as_bytes()).is_ok_and(|length| length == reply.len()) {
        written += 1;
        assert!(written < REPLIES, "nothing holds the service back");
    }
    assert!(written > 0);
    for _ in 0..written {
        replies.next().unwrap().unwrap();
    }
    assert!((&writer).write(b"{}\0").is_ok());
}

#[test]
fn a_stream_that_is_given_up_takes_the_connection_with_it() {
    let (mut client, mut service) = pair();
    service.write_all(b"{\"continues\":true}\0{}\0").unwrap();
    assert!(client.stream("x.M", &json!({})).unwrap().next().unwrap().is_ok());
    assert!(matches!(client.call("x.M", &json!({})), Err(Error::Unexpected(_))));
}

#[test]
fn a_service_that_is_mute_or_goes_is_told_apart() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut client = Client::over(ours.into(), SHORT).unwrap();
    assert!(matches!(client.call("x.M", &json!({})), Err(Error::TooLate)));
    drop(theirs);
    let (mut client, service) = pair();
    drop(service);
    assert!(matches!(client.call("x.M", &json!({})), Err(Error::HungUp)));
    let nowhere = Path::new("/nonexistent/socket");
    assert!(matches!(Client::connect(nowhere, SHORT), Err(Error::Connect { .. })));
}

#[test]
fn what_makes_no_sense_ends_the_connection() {
    let (mut client, mut service) = pair();
    service.write_all(b"[]\0{}\0").unwrap();
    assert!(matches!(client.call("x.M", &json!({})), Err(Error::Nonsense(_))));
    assert!(matches!(client.call("x.M", &json!({})), Err(Error::Unexpected(_))));
}

#[test]
fn a_long_call_goes_out_as_it_is_read() {
    let (mut client, mut service) = pair();
    let text = "z".repeat(3 << 20);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        let mut buffer = [0; 65536];
        while got.last() != Some(&0) {
            let length = service.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..length]);
        }
        service.write_all(b"{}\0").unwrap();
        got.len()
    });
    client.call("x.M", &json!({ "t": text })).unwrap();
    assert!(reader.join().unwrap() > text.len());
}

#[test]
fn a_full_queue_is_waited_for_no_longer_than_allowed() {
    let name = format!("varlink-client-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        flags,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let patience = Patience { connect: Some(Duration::from_millis(50)), ..Patience::default() };
    let _first = Client::connect(&path, patience).unwrap();
    let second = Client::connect(&path, patience);
    std::fs::remove_file(&path).unwrap();
    let Err(Error::Connect { source, .. }) = second else { panic!("it was let in") };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
}
