//! Where the server listens.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

#[test]
fn a_socket_is_open_to_everybody_and_so_is_its_directory() {
    run(async {
        let directory = TempDir::new("bind");
        let path = directory.0.join("deep/er/socket");
        let _listener = listen_at(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o666);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
    });
}

#[test]
fn a_socket_left_behind_is_replaced() {
    run(async {
        let directory = TempDir::new("stale");
        let path = directory.0.join("socket");
        drop(listen_at(&path).unwrap());
        assert!(fs::metadata(&path).unwrap().file_type().is_socket());
        let listener = listen_at(&path).unwrap();
        let mut accepted = Vec::new();
        let accept = listener.accept(|socket| {
            accepted.push(socket);
            ControlFlow::Break(())
        });
        let (_client, result) = tokio::join!(UnixStream::connect(&path), accept);
        result.unwrap();
        assert_eq!(accepted.len(), 1);
    });
}

#[test]
fn what_is_no_socket_is_never_removed() {
    run(async {
        let directory = TempDir::new("taken");
        let path = directory.0.join("file");
        fs::write(&path, "precious").unwrap();
        let link = directory.0.join("link");
        let _target = listen_at(&directory.0.join("target")).unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        for path in [&path, &link, &directory.0] {
            let before = fs::symlink_metadata(path).unwrap().ino();
            assert_eq!(listen_at(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::symlink_metadata(path).unwrap().ino(), before);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn a_passed_socket_is_served() {
    run(async {
        let directory = TempDir::new("passed");
        let path = directory.0.join("socket");
        let passed = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let bench = Bench::new(settings());
        tokio::task::spawn_local(bench.server.clone().serve(listen_on(passed.into()).unwrap()));
        let mut client = Client(UnixStream::connect(&path).await.unwrap());
        assert_eq!(client.call(&echo_call("hello")).await, echo_reply("hello"));
    });
}

#[test]
fn a_passed_descriptor_that_does_not_listen_is_refused() {
    run(async {
        let (connected, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(listen_on(connected.into()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let inet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listen_on(inet.into()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(listen_on(fs::File::open("/dev/null").unwrap().into()).is_err());
    });
}
