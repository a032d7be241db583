//! Limits on connections, and what happens when file descriptors run out.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, Rlimit, Uid, geteuid, setrlimit};

use super::*;

const NOBODY: u32 = 65_534;
const SOMEBODY: u32 = 65_533;

fn listening(bench: &Bench, directory: &TempDir) -> PathBuf {
    let path = directory.0.join("socket");
    tokio::task::spawn_local(bench.server.clone().serve(listen_at(&path).unwrap()));
    path
}

#[test]
fn a_user_over_its_limit_is_turned_away_and_others_are_not() {
    if !geteuid().is_root() {
        return;
    }
    run(async {
        let limits = Limits { total: 4, per_uid: 2 };
        let bench = Bench::new(Settings { limits, ..settings() });
        let directory = TempDir::new("limits");
        let path = listening(&bench, &directory);
        let connect = |uid| Client(connect_as(uid, &path).unwrap());
        let (mut one, mut two) = (connect(NOBODY), connect(NOBODY));
        one.call(&echo_call("a")).await;
        two.call(&echo_call("b")).await;
        assert!(connect(NOBODY).is_closed().await);
        let (mut three, mut four) = (connect(SOMEBODY), connect(SOMEBODY));
        three.call(&echo_call("c")).await;
        four.call(&echo_call("d")).await;
        // A new user gets a place of one who has more: of those, the one that nothing has come in on for longest.
        let mut new = connect(70_000);
        assert_eq!(new.call(&echo_call("new")).await, echo_reply("new"));
        assert!(one.is_closed().await);
        drop(new);
        // Root gets in whatever the limits say, and a place that is free again is given away again.
        let mut root = Client(UnixStream::connect(&path).await.unwrap());
        assert_eq!(root.call(&echo_call("root")).await, echo_reply("root"));
        drop((two, root));
        while bench.server.connections() > 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(connect(NOBODY).call(&echo_call("e")).await, echo_reply("e"));
    });
}

#[test]
fn who_is_not_privileged_cannot_change_or_read_the_settings() {
    if !geteuid().is_root() {
        return;
    }
    run(async {
        let bench = Bench::new(settings());
        let directory = TempDir::new("settings");
        let path = listening(&bench, &directory);
        let mut nobody = Client(connect_as(NOBODY, &path).unwrap());
        let denied = r#"{"error":"org.varlink.service.PermissionDenied"}"#;
        let set = r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":7}}"#;
        let echoed = r#"{"error":"org.varlink.service.PermissionDenied","parameters":{"level":7}}"#;
        assert_eq!(nobody.call(set).await, echoed);
        assert_eq!(nobody.call(r#"{"method":"io.systemd.service.GetEnvironment"}"#).await, denied);
        let get = r#"{"method":"io.systemd.service.GetLogLevel"}"#;
        assert_eq!(nobody.call(get).await, r#"{"parameters":{"level":0}}"#);
    });
}

#[test]
fn the_large_messages_of_the_unprivileged_have_a_common_limit() {
    if !geteuid().is_root() {
        return;
    }
    run(async {
        let bench = Bench::new(Settings { large_messages: 1 << 20, ..settings() });
        let directory = TempDir::new("budget");
        let path = listening(&bench, &directory);
        let mut nobody = Client(connect_as(NOBODY, &path).unwrap());
        let chunk = vec![b' '; 64 << 10];
        let mut sent = 0;
        while sent < 100 && nobody.0.write_all(&chunk).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 40, "{sent} times 64 KiB were taken");
    });
}

/// The limit on file descriptors is one of the process, so the test has one to itself.
#[test]
fn running_out_of_file_descriptors_ends_nothing() {
    const CHILD: &str = "VARLINK_TEST_OUT_OF_FDS";
    if std::env::var_os(CHILD).is_some() {
        return run(out_of_fds());
    }
    let name = "varlink::tests::limits::running_out_of_file_descriptors_ends_nothing";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

async fn out_of_fds() {
    let bench = Bench::new(settings());
    let directory = TempDir::new("fds");
    let path = listening(&bench, &directory);
    let mut first = Client(UnixStream::connect(&path).await.unwrap());
    first.call(&echo_call("before")).await;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let mut sockets: Vec<_> =
        (0..4).map(|_| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()).collect();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    // The last descriptor is the reserve's. Nobody is told that there is no room with it...
    let address = SocketAddrUnix::new(&path).unwrap();
    if geteuid().is_root() {
        let nobody = connect_socket_as(NOBODY, sockets.pop().unwrap(), address.clone());
        assert!(Client(UnixStream::from_std(nobody.into()).unwrap()).is_closed().await);
    }
    // ... and the first privileged peer is served with it.
    let mut clients = Vec::new();
    for stream in sockets {
        connect(&stream, &address).unwrap();
        clients.push(Client(UnixStream::from_std(stream.into()).unwrap()));
    }
    assert_eq!(clients[0].call(&echo_call("reserve")).await, echo_reply("reserve"));
    assert_eq!(first.call(&echo_call("during")).await, echo_reply("during"));
    // The others wait in the backlog. They are served as soon as there are descriptors again.
    hoard.truncate(8);
    for client in &mut clients {
        assert_eq!(client.call(&echo_call("after")).await, echo_reply("after"));
    }
}

/// Connects as user `uid` without a new file descriptor.
fn connect_socket_as(uid: u32, socket: OwnedFd, address: SocketAddrUnix) -> OwnedFd {
    let connect = move || {
        let uid = Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        connect(&socket, &address).unwrap();
        socket
    };
    std::thread::spawn(connect).join().unwrap()
}
