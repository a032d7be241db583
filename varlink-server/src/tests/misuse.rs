//! Peers that do not behave: each costs itself a connection, and the others nothing.

use super::*;
use crate::stream::Arrival;

async fn assert_served(bench: &Bench) {
    assert_eq!(bench.client().call(&echo_call("well")).await, echo_reply("well"));
}

#[test]
fn garbage_closes_the_connection_without_a_reply() {
    run(async {
        let bench = Bench::new(settings());
        for text in [
            "",
            "nonsense",
            "[]",
            "null",
            "{}",
            r#"{"method":"test.Probe.Fail"} x"#,
            r#"{"method":"test.Probe.Fail","bogus":true}"#,
            r#"{"method":"test.Probe.Fail","parameters":1}"#,
            r#"{"method":"test.Probe.Fail","more":true,"oneway":true}"#,
            r#"{"method":"test.Probe.Echo","parameters":{"text":"\u0000"}}"#,
            &"[".repeat(100_000),
        ] {
            let mut client = bench.client();
            client.send(text).await;
            assert!(client.is_closed().await, "{text}");
        }
        let mut client = bench.client();
        client.0.write_all(b"{\"method\":\"\xff\"}\0").await.unwrap();
        assert!(client.is_closed().await);
        bench.quiet().await;
    });
}

#[test]
fn calls_before_the_garbage_are_answered() {
    run(async {
        let mut client = Bench::new(settings()).client();
        client.0.write_all(format!("{}\0garbage\0", echo_call("first")).as_bytes()).await.unwrap();
        assert_eq!(client.receive().await, echo_reply("first"));
        assert!(client.is_closed().await);
    });
}

#[test]
fn twenty_megabytes_without_an_end_are_cut_off() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        let chunk = vec![b' '; 1 << 20];
        let mut sent = 0;
        while sent < 20 && client.0.write_all(&chunk).await.is_ok() {
            sent += 1;
            assert_served(&bench).await;
        }
        assert!((15..=17).contains(&sent), "{sent} MiB were taken");
        assert!(client.is_closed().await);
        drop(client);
        bench.quiet().await;
    });
}

#[test]
fn half_a_message_and_a_hangup_leave_nothing_behind() {
    run(async {
        let bench = Bench::new(settings());
        let mut client = bench.client();
        client.0.write_all(&echo_call("half").as_bytes()[..20]).await.unwrap();
        tokio::task::yield_now().await;
        drop(client);
        bench.quiet().await;
        assert_served(&bench).await;
    });
}

#[test]
fn a_peer_that_never_reads_is_dropped_at_the_deadline_and_others_are_served_meanwhile() {
    run(async {
        let deadline = Duration::from_millis(300);
        let bench = Bench::new(Settings { write_deadline: deadline, ..settings() });
        let Client(stream) = bench.client();
        let start = std::time::Instant::now();
        let (reader, mut writer) = stream.into_split();
        let flood = tokio::task::spawn_local(async move {
            let calls = (echo_call(&"z".repeat(1000)) + "\0").repeat(100);
            let mut sent = 0;
            while writer.write_all(calls.as_bytes()).await.is_ok() {
                sent += calls.len();
            }
            sent
        });
        let mut served = 0;
        while !flood.is_finished() {
            assert_served(&bench).await;
            served += 1;
        }
        assert!(start.elapsed() >= deadline);
        assert!(flood.await.unwrap() < 4 << 20, "the server must not take what it cannot answer");
        assert!(served >= 5, "only {served} others were served");
        drop(reader);
        bench.quiet().await;
    });
}

#[test]
fn a_stream_nobody_reads_is_dropped_at_the_deadline() {
    run(async {
        let deadline = Duration::from_millis(50);
        let bench = Bench::new(Settings { write_deadline: deadline, ..settings() });
        let mut client = bench.client();
        let call = r#"{"method":"test.Probe.Count","parameters":{"to":1000000,"size":1000},"more":true}"#;
        client.send(call).await;
        let client = client.0.into_std().unwrap();
        Arrival::new(client.into(), None).into_stream(false, None).unwrap().hung_up().await;
        bench.quiet().await;
    });
}

#[test]
fn a_peer_that_hangs_up_ends_its_handler() {
    run(async {
        let bench = Bench::new(settings());
        for call in [r#"{"method":"test.Probe.Wait"}"#, r#"{"method":"test.Probe.Tick","more":true}"#] {
            let mut client = bench.client();
            client.send(call).await;
            client.send(&echo_call("never read")).await;
            tokio::task::yield_now().await;
            drop(client);
            bench.probe.dropped.notified().await;
            bench.quiet().await;
        }
        assert_eq!(bench.probe.calls.get(), 0);
    });
}
