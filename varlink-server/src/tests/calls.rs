//! Calls and replies of peers that behave.

use super::*;

#[test]
fn a_message_may_come_in_any_pieces() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        for byte in format!("{}\0", echo_call("slow")).as_bytes() {
            client.0.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.receive().await, echo_reply("slow"));
        let two = format!("{}\0{}\0", echo_call("one"), echo_call("two"));
        client.0.write_all(two.as_bytes()).await.unwrap();
        assert_eq!(client.receive().await, echo_reply("one"));
        assert_eq!(client.receive().await, echo_reply("two"));
    });
}

#[test]
fn a_thousand_pipelined_calls_are_answered_in_order() {
    run(async {
        let bench = Bench::new(settings());
        let (mut reader, mut writer) = bench.client().0.into_split();
        let calls: String = (0..1000).map(|n| echo_call(&n.to_string()) + "\0").collect();
        let expected: String = (0..1000).map(|n| echo_reply(&n.to_string()) + "\0").collect();
        let mut replies = vec![0; expected.len()];
        let send = writer.write_all(calls.as_bytes());
        let (sent, received) = tokio::join!(send, reader.read_exact(&mut replies));
        sent.unwrap();
        received.unwrap();
        assert_eq!(String::from_utf8(replies).unwrap(), expected);
    });
}

#[test]
fn a_large_message_is_served_and_a_small_one_after_it() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        let text = "y".repeat(3 << 20);
        let (mut reader, mut writer) = client.0.split();
        let (call, expected) = (echo_call(&text) + "\0", echo_reply(&text) + "\0");
        let mut reply = vec![0; expected.len()];
        let (sent, received) = tokio::join!(writer.write_all(call.as_bytes()), reader.read_exact(&mut reply));
        sent.unwrap();
        received.unwrap();
        assert_eq!(reply, expected.as_bytes());
        assert_eq!(client.call(&echo_call("small")).await, echo_reply("small"));
    });
}

#[test]
fn a_peer_that_sends_large_messages_lets_others_pass_in_between() {
    run(async {
        const CALLS: usize = 16;
        let bench = Bench::new(settings());
        let (mut large, mut other) = (bench.client(), bench.client());
        let call = echo_call(&"x".repeat(5000)) + "\0";
        large.0.write_all(call.repeat(CALLS).as_bytes()).await.unwrap();
        assert_eq!(other.call(&echo_call("y")).await, echo_reply("y"));
        let mut replies = vec![0; call.len() * CALLS];
        // Asked of the kernel: the event loop may not know of them yet.
        let got = rustix::net::recv(&large.0, &mut *replies, rustix::net::RecvFlags::DONTWAIT);
        let got = got.map_or(0, |(got, _)| got);
        let answered = replies[..got].iter().filter(|byte| **byte == 0).count();
        assert!(answered < CALLS, "all {answered} were answered first");
    });
}

#[test]
fn a_stream_ends_with_the_reply_that_does_not_continue() {
    run(async {
        let mut client = Bench::new(settings()).client();
        client.send(r#"{"method":"test.Probe.Count","parameters":{"to":3},"more":true}"#).await;
        assert_eq!(client.receive().await, r#"{"parameters":{"n":0},"continues":true}"#);
        assert_eq!(client.receive().await, r#"{"parameters":{"n":1},"continues":true}"#);
        assert_eq!(client.receive().await, r#"{"parameters":{"n":2}}"#);
    });
}

#[test]
fn a_stream_of_a_thousand_replies_is_written_at_once() {
    run(async {
        let mut client = Bench::new(settings()).client();
        client.send(r#"{"method":"test.Probe.Count","parameters":{"to":1000},"more":true}"#).await;
        let mut replies = vec![0; 1 << 20];
        let read = client.0.read(&mut replies).await.unwrap();
        assert_eq!(replies[..read].iter().filter(|byte| **byte == 0).count(), 1000);
    });
}

#[test]
fn a_stream_larger_than_the_batch_arrives_whole() {
    run(async {
        let mut client = Bench::new(settings()).client();
        let call = r#"{"method":"test.Probe.Count","parameters":{"to":5000,"size":1000},"more":true}"#;
        client.send(call).await;
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        while total < 5000 {
            let read = client.0.read(&mut buffer).await.unwrap();
            total += buffer[..read].iter().filter(|byte| **byte == 0).count();
        }
        assert_eq!(client.call(&echo_call("next")).await, echo_reply("next"));
    });
}

#[test]
fn a_stream_is_refused_to_a_call_that_did_not_ask_for_it() {
    run(async {
        let mut client = Bench::new(settings()).client();
        let expected = r#"{"error":"org.varlink.service.ExpectedMore"}"#;
        for (method, parameters) in [("Tick", "{}"), ("Count", r#"{"to":3}"#)] {
            let call = format!(r#"{{"method":"test.Probe.{method}","parameters":{parameters}}}"#);
            assert_eq!(client.call(&call).await, expected);
        }
        let one = r#"{"method":"test.Probe.Count","parameters":{"to":1}}"#;
        assert_eq!(client.call(one).await, r#"{"parameters":{"n":0}}"#);
    });
}

#[test]
fn a_reply_is_not_held_back_while_its_handler_waits() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        client.send(r#"{"method":"test.Probe.Tick","more":true}"#).await;
        assert_eq!(client.receive().await, r#"{"parameters":{"n":1},"continues":true}"#);
        bench.probe.waiting.notify_one();
        assert_eq!(client.receive().await, r#"{"parameters":{"n":2}}"#);
    });
}

#[test]
fn a_oneway_call_runs_and_gets_no_reply() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        client.send(r#"{"method":"test.Probe.Echo","parameters":{"text":"quiet"},"oneway":true}"#).await;
        for method in
            ["test.Probe.Fail", "test.Probe.Nothing", "test.Probe.Echo", "org.varlink.service.GetInfo"]
        {
            client.send(&format!(r#"{{"method":"{method}","oneway":true}}"#)).await;
        }
        assert_eq!(client.call(&echo_call("loud")).await, echo_reply("loud"));
        assert_eq!(bench.probe.calls.get(), 2);
    });
}

#[test]
fn a_handler_that_waits_holds_up_only_its_own_connection() {
    run(async {
        let bench = Bench::new(settings());
        let (mut slow, mut quick) = (bench.client(), bench.client());
        slow.send(r#"{"method":"test.Probe.Wait"}"#).await;
        slow.send(&echo_call("after")).await;
        assert_eq!(quick.call(&echo_call("now")).await, echo_reply("now"));
        bench.probe.waiting.notify_one();
        assert_eq!(slow.receive().await, "{}");
        assert_eq!(slow.receive().await, echo_reply("after"));
    });
}

#[test]
fn a_peer_that_shut_down_its_sending_side_still_gets_its_replies() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        client.send(r#"{"method":"test.Probe.Wait"}"#).await;
        client.send(&echo_call("last")).await;
        client.0.shutdown().await.unwrap();
        bench.client().call(&echo_call("in between")).await;
        bench.probe.waiting.notify_one();
        assert_eq!(client.receive().await, "{}");
        assert_eq!(client.receive().await, echo_reply("last"));
        assert!(client.is_closed().await);
        bench.quiet().await;
    });
}
