//! How long a call takes: `cargo test --release varlink::tests::speed -- --ignored --nocapture`.

use std::io::{Read, Write};
use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement, and it needs a release build"]
fn a_trivial_call() {
    const CALLS: u32 = 100_000;
    let directory = TempDir::new("speed");
    let path = directory.0.join("socket");
    let per_call = run(async {
        let bench = Bench::new(settings());
        tokio::task::spawn_local(bench.server.clone().serve(listen_at(&path).unwrap()));
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            let mut buffer = [0; 1024];
            let start = Instant::now();
            for _ in 0..CALLS {
                stream.write_all(b"{\"method\":\"io.systemd.service.Ping\",\"parameters\":{}}\0").unwrap();
                assert_eq!(stream.read(&mut buffer).unwrap(), 3);
            }
            start.elapsed() / CALLS
        });
        client.await.unwrap()
    });
    println!("{per_call:?} per call");
}

#[test]
#[ignore = "a measurement, and it needs a release build"]
fn the_memory_of_an_idle_connection() {
    const CLIENTS: usize = 2000;
    run(async {
        let limits = Limits { total: CLIENTS, per_uid: CLIENTS };
        let bench = Bench::new(Settings { limits, ..settings() });
        let mut clients = Vec::with_capacity(CLIENTS);
        let mut before = 0;
        for n in 0..CLIENTS {
            let Client(mut stream) = bench.client();
            let text = "w".repeat(50_000);
            let mut reply = vec![0; echo_reply(&text).len() + 1];
            stream.write_all((echo_call(&text) + "\0").as_bytes()).await.unwrap();
            stream.read_exact(&mut reply).await.unwrap();
            clients.push(stream.into_std().unwrap());
            if n == CLIENTS / 10 {
                before = resident();
            }
        }
        let connections = CLIENTS - CLIENTS / 10;
        println!("{} bytes per connection", resident().saturating_sub(before) / connections);
    });
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
