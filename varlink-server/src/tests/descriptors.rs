//! Descriptors: sent and received by the methods that say so, and by no other.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Plain;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use varlink_client::{Error, Patience};

use super::*;
use crate::socket_option::{refuse_descriptors, takes_descriptors};

const TAKER: &str = "interface test.Taker\nmethod Take(text: string) -> (count: int)\n";

const TAKER_METHODS: &[Method<Probe>] = &[Method {
    name: "Take",
    more: More::No,
    rules: &[],
    descriptors: Descriptors::Received(2),
    handler: |_, call, replier| {
        let answer = replier.reply(&json!({"count": call.descriptors.len()}));
        Box::pin(std::future::ready(answer))
    },
}];

/// A file that says its number, once or as a stream of so many.
pub(super) async fn open(call: Call, mut replier: Replier) -> Result<Done, ErrorReply> {
    let to = call.parameters.get("to").and_then(Value::as_u64).unwrap_or(1);
    for number in 1..to {
        replier.send_with(&json!({"fd": 0}), vec![file(number)]).await?;
    }
    replier.reply_with(&json!({"fd": 0}), vec![file(to)])
}

fn file(number: u64) -> OwnedFd {
    let (ours, theirs) = Plain::pair().unwrap();
    std::io::Write::write_all(&mut &ours, number.to_string().as_bytes()).unwrap();
    theirs.into()
}

fn content(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    Plain::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

/// A server that takes descriptors for one method.
fn taker() -> Bench {
    Bench::with(settings(), vec![Interface { description: TAKER, methods: TAKER_METHODS }])
}

/// What a blocking client, on a thread of its own, comes to.
async fn with_client<T: Send + 'static>(
    bench: &Bench,
    talk: impl FnOnce(varlink_client::Client) -> T + Send + 'static,
) -> T {
    let socket = bench.client().0.into_std().unwrap();
    let client = varlink_client::Client::over(socket.into(), Patience::default()).unwrap();
    tokio::task::spawn_blocking(move || talk(client)).await.unwrap()
}

fn send(socket: impl AsFd, text: &str, descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty())
}

#[test]
fn a_method_that_sends_descriptors_sends_them_with_each_reply() {
    run(async {
        let bench = Bench::new(settings());
        let told = with_client(&bench, |mut client| {
            let one = client.call("test.Probe.Open", &json!({})).unwrap();
            assert_eq!(one.parameters, json!({"fd": 0}));
            let mut told: Vec<_> = one.descriptors.into_iter().map(content).collect();
            let plain = client.call("test.Probe.Echo", &json!({"text": "x"})).unwrap();
            assert!(plain.descriptors.is_empty());
            for reply in client.stream("test.Probe.Open", &json!({"to": 300})).unwrap() {
                let mut descriptors = reply.unwrap().descriptors;
                told.push(content(descriptors.pop().unwrap()));
                assert!(descriptors.is_empty());
            }
            told
        });
        let expected: Vec<_> = [1].into_iter().chain(1..=300).map(|number: i32| number.to_string()).collect();
        assert_eq!(told.await, expected);
    });
}

#[test]
fn a_peer_that_takes_no_descriptors_is_refused() {
    run(async {
        let bench = Bench::new(settings());
        let Client(stream) = bench.client();
        if !refuse_descriptors(&stream) {
            return;
        }
        let mut client = Client(stream);
        let denied = r#"{"error":"org.varlink.service.PermissionDenied"}"#;
        assert_eq!(client.call(r#"{"method":"test.Probe.Open"}"#).await, denied);
        assert_eq!(client.call(&echo_call("goes on")).await, echo_reply("goes on"));
        client.send(r#"{"method":"test.Probe.Open","parameters":{"to":3},"more":true}"#).await;
        assert!(client.is_closed().await);
    });
}

#[test]
fn a_method_that_receives_descriptors_gets_those_of_its_own_call() {
    run(async {
        let bench = taker();
        let counts = with_client(&bench, |mut client| {
            let file = File::open("/dev/null").unwrap();
            let mut take = |descriptors: &[BorrowedFd<'_>]| {
                let reply = client.call_with("test.Taker.Take", &json!({"text": "x"}), descriptors);
                reply.unwrap().parameters["count"].clone()
            };
            [take(&[]), take(&[file.as_fd()]), take(&[file.as_fd(), file.as_fd()]), take(&[])]
        });
        assert_eq!(counts.await, [0, 1, 2, 0]);
        // Also behind calls that have none, which are read with it.
        let mut client = bench.client();
        let file = File::open("/dev/null").unwrap();
        let plain = format!("{}\0", echo_call("first"));
        rustix::net::send(&client.0, plain.as_bytes(), SendFlags::empty()).unwrap();
        let take = "{\"method\":\"test.Taker.Take\",\"parameters\":{\"text\":\"\"}}\0";
        send(&client.0, take, &[file.as_fd()]).unwrap();
        assert_eq!(client.receive().await, echo_reply("first"));
        assert_eq!(client.receive().await, r#"{"parameters":{"count":1}}"#);
    });
}

#[test]
fn descriptors_that_no_method_wants_end_the_connection() {
    run(async {
        let bench = taker();
        let too_many = "{\"method\":\"test.Taker.Take\",\"parameters\":{\"text\":\"\"}}\0";
        let in_two = ["{\"method\":\"test.Taker.Take\",", "\"parameters\":{\"text\":\"\"}}\0"];
        let unwanted = format!("{}\0", echo_call("with luggage"));
        for (first, rest, count) in
            [("", unwanted.as_str(), 1), ("", too_many, 3), (in_two[0], in_two[1], 1), ("", in_two[0], 1)]
        {
            let mut client = bench.client();
            let (mut watched, passed) = Plain::pair().unwrap();
            if !first.is_empty() {
                // Once a call before it is answered, this is read.
                let first = format!("{}\0{first}", echo_call("before"));
                rustix::net::send(&client.0, first.as_bytes(), SendFlags::empty()).unwrap();
                assert_eq!(client.receive().await, echo_reply("before"));
            }
            let descriptors: Vec<_> = (0..count).map(|_| passed.as_fd()).collect();
            send(&client.0, rest, &descriptors).unwrap();
            drop(passed);
            assert!(client.is_closed().await, "{first}{rest} with {count}");
            bench.quiet().await;
            // Nobody holds what was passed any more.
            watched.set_nonblocking(true).unwrap();
            assert_eq!(watched.read(&mut [0]).unwrap(), 0);
        }
        assert_eq!(bench.probe.calls.get(), 1);
    });
}

#[test]
fn a_server_that_wants_no_descriptors_has_the_kernel_refuse_them() {
    run(async {
        let bench = Bench::new(settings());
        let directory = TempDir::new("rights");
        let path = directory.0.join("socket");
        let listener = listen_at(&path).unwrap();
        // Connected before the server was there: what it has sent is in the socket already.
        let early = Plain::connect(&path).unwrap();
        let file = File::open("/dev/null").unwrap();
        let call = format!("{}\0", echo_call("early"));
        send(&early, &call, &[file.as_fd()]).unwrap();
        tokio::task::spawn_local(bench.server.clone().serve(listener));
        early.set_nonblocking(true).unwrap();
        assert!(Client(UnixStream::from_std(early).unwrap()).is_closed().await);
        let mut late = Client(UnixStream::connect(&path).await.unwrap());
        assert_eq!(late.call(&echo_call("late")).await, echo_reply("late"));
        let probe = Plain::pair().unwrap().0;
        refuse_descriptors(&probe);
        if takes_descriptors(&probe) {
            // The kernel cannot: the connection is let go instead.
            send(&late.0, &call, &[file.as_fd()]).unwrap();
            assert!(late.is_closed().await);
        } else {
            assert_eq!(send(&late.0, &call, &[file.as_fd()]), Err(Errno::PERM));
            assert_eq!(late.call(&echo_call("goes on")).await, echo_reply("goes on"));
        }
    });
}

#[test]
fn a_reply_has_no_descriptors_where_the_method_sends_none() {
    run(async {
        let bench = taker();
        let refused = with_client(&bench, |mut client| {
            let refused = client.call("test.Taker.Nope", &json!({})).unwrap_err();
            matches!(refused, Error::Refused { .. })
        });
        assert!(refused.await);
        let outbox = Rc::default();
        let replier = crate::reply::Replier::new(outbox, false, false, Descriptors::None);
        assert!(replier.reply_with(&(), vec![File::open("/dev/null").unwrap().into()]).is_err());
    });
}
