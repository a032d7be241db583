//! `register --from`: what a container manager's hook says of a container. A hook whose program fails, or takes long,
//! keeps the container from being started; so this says what went wrong, is done after two seconds, and succeeds.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use registry::MachineName;
use serde_json::{Map, Value};

use crate::cli::Manager;
use crate::daemon::Daemon;
use crate::manage::{call_within, explained};
use crate::names::checked;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long each of two daemons has.
const PATIENCE_EACH: Duration = Duration::from_millis(900);
/// The longest state and configuration of an OCI runtime that are read, in bytes.
const TEXT_MAX: u64 = 4 << 20;
/// The annotation that has a container registered; its value is the name, or `true`.
const ANNOTATION: &str = "io.mymachines.register";
/// By which Podman says that it is the manager.
const MANAGER_ANNOTATION: &str = "io.container.manager";

/// What a hook says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    name: String,
    leader: u32,
    service: String,
    root: Option<String>,
}

/// Registers what the hook says, in time, and says on standard error why that did not work.
pub fn register(from: Manager) {
    let (done, waits) = mpsc::channel();
    // The thread that hangs is left behind: this process ends anyhow.
    thread::spawn(move || {
        let result = told(from).and_then(|told| match told {
            Some(told) => submit(&told),
            None => Ok(()),
        });
        if let Err(reason) = result {
            eprintln!("mymachines: not registered: {reason}");
        }
        let _ = done.send(());
    });
    if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        let (said, waits) = mpsc::channel();
        // Whoever should read standard error may be what it hangs at.
        thread::spawn(move || {
            eprintln!("mymachines: not registered: it took more than {} s", PATIENCE.as_secs());
            let _ = said.send(());
        });
        let _ = waits.recv_timeout(Duration::from_millis(100));
    }
}

/// `None`: there is nothing to register.
fn told(from: Manager) -> Result<Option<Told>, String> {
    match from {
        Manager::Lxc => of_lxc(&std::env::vars().collect()).map(Some),
        Manager::Oci => {
            let mut state = String::new();
            io::stdin()
                .take(TEXT_MAX)
                .read_to_string(&mut state)
                .map_err(|error| format!("cannot read the state from standard input: {error}"))?;
            of_oci(&state, &|bundle| {
                let mut text = String::new();
                let file = fs::File::open(format!("{bundle}/config.json")).ok()?;
                file.take(TEXT_MAX).read_to_string(&mut text).ok()?;
                Some(text)
            })
        }
    }
}

fn submit(told: &Told) -> Result<(), String> {
    let name = name(&told.name)?;
    if name.as_str() != told.name {
        eprintln!("mymachines: '{}' is no machine's name; registered as '{name}'", told.name.escape_debug());
    }
    let mut parameters = Map::new();
    parameters.insert("name".into(), name.as_str().into());
    parameters.insert("class".into(), "container".into());
    parameters.insert("leader".into(), told.leader.into());
    parameters.insert("service".into(), told.service.as_str().into());
    if let Some(root) = &told.root {
        parameters.insert("rootDirectory".into(), root.as_str().into());
    }
    let system = Daemon::system();
    let words = |error| explained(error, &system, name.as_str()).to_string();
    // Root's containers are the system's.
    let Some(own) = Daemon::own().filter(|own| !own.is_roots()) else {
        return call_within(&system, "Register", parameters, PATIENCE).map_err(words);
    };
    // With both, as systemd-nspawn without root does: one of them is enough.
    let of_own = call_within(&own, "Register", parameters.clone(), PATIENCE_EACH);
    match call_within(&system, "Register", parameters, PATIENCE_EACH) {
        Err(error) if of_own.is_err() => Err(words(error)),
        _ => Ok(()),
    }
}

/// The name, or the one nearest to it that a machine may have.
fn name(text: &str) -> Result<MachineName, String> {
    libmachine::suggest(text.as_bytes()).or_else(|_| checked(text))
}

/// The environment of LXC's hooks, lxc.container.conf(5).
fn of_lxc(environment: &BTreeMap<String, String>) -> Result<Told, String> {
    let variable = |name: &str| {
        let text = environment.get(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("{name} is not set: this is no start-host hook of LXC"))
    };
    let leader = variable("LXC_PID")?;
    let leader = leader.parse().map_err(|_| format!("LXC_PID is '{}'", leader.escape_debug()))?;
    let is_of = |manager: &str| {
        let config = environment.get("LXC_CONFIG_FILE");
        config.is_some_and(|config| config.contains(&format!("/{manager}/")))
    };
    let service = ["incus", "lxd"].into_iter().find(|manager| is_of(manager)).unwrap_or("lxc");
    // A path may come with the kind of storage before it, `dir:/var/lib/lxc/web/rootfs`.
    let root = environment.get("LXC_ROOTFS_PATH").map(|path| path.strip_prefix("dir:").unwrap_or(path));
    Ok(Told {
        name: variable("LXC_NAME")?.clone(),
        leader,
        service: service.to_owned(),
        root: root.filter(|path| path.starts_with('/')).map(str::to_owned),
    })
}

/// The state that an OCI runtime gives its hooks, OCI Runtime Specification.
fn of_oci(state: &str, read_config: &dyn Fn(&str) -> Option<String>) -> Result<Option<Told>, String> {
    let state: Value =
        serde_json::from_str(state).map_err(|error| format!("the state is no JSON: {error}"))?;
    let text = |name: &str| state.get(name).and_then(Value::as_str);
    let id = text("id").ok_or("the state has no id")?;
    let leader = state.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
    let leader = leader
        .filter(|&pid| pid > 0)
        .ok_or("the state has no pid: this is no hook of a container that runs")?;
    let config =
        text("bundle").and_then(read_config).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    // The configuration has what the state may leave out.
    let annotation = |name: &str| {
        let of = |value: &Value| value.get("annotations")?.get(name)?.as_str().map(str::to_owned);
        of(&state).or_else(|| config.as_ref().and_then(of))
    };
    let name = match annotation(ANNOTATION).as_deref() {
        Some("false" | "no" | "0") => return Ok(None),
        None | Some("true" | "yes" | "1" | "") => id.get(..12).unwrap_or(id).to_owned(),
        Some(name) => name.to_owned(),
    };
    let root = config.as_ref().and_then(|config| config.get("root")?.get("path")?.as_str());
    Ok(Some(Told {
        name,
        leader,
        service: match annotation(MANAGER_ANNOTATION).as_deref() {
            Some("libpod") => "podman".to_owned(),
            _ => "oci".to_owned(),
        },
        root: root.filter(|path| path.starts_with('/')).map(str::to_owned),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn lxc_tells_by_its_environment() {
        let told = of_lxc(&environment(&[
            ("LXC_NAME", "web"),
            ("LXC_PID", "4711"),
            ("LXC_CONFIG_FILE", "/var/lib/lxc/web/config"),
            ("LXC_ROOTFS_PATH", "dir:/var/lib/lxc/web/rootfs"),
        ]));
        let expected = Told {
            name: "web".into(),
            leader: 4711,
            service: "lxc".into(),
            root: Some("/var/lib/lxc/web/rootfs".into()),
        };
        assert_eq!(told, Ok(expected));
        let incus = of_lxc(&environment(&[
            ("LXC_NAME", "default_web"),
            ("LXC_PID", "1"),
            ("LXC_CONFIG_FILE", "/run/incus/default_web/lxc.conf"),
        ]));
        assert_eq!(incus.unwrap().service, "incus");
        assert!(of_lxc(&environment(&[("LXC_NAME", "web")])).unwrap_err().contains("LXC_PID is not set"));
        assert!(of_lxc(&environment(&[("LXC_NAME", "web"), ("LXC_PID", "x")])).is_err());
    }

    #[test]
    fn an_oci_runtime_tells_by_its_state() {
        let state =
            r#"{"ociVersion":"1.0","id":"0123456789abcdef","pid":4711,"bundle":"/b","annotations":{}}"#;
        let told = |config: &'static str| of_oci(state, &|_| Some(config.to_owned())).unwrap();
        let by_name = told(
            r#"{"root":{"path":"/merged"},"annotations":{"io.mymachines.register":"web","io.container.manager":"libpod"}}"#,
        );
        let expected =
            Told { name: "web".into(), leader: 4711, service: "podman".into(), root: Some("/merged".into()) };
        assert_eq!(by_name, Some(expected));
        assert_eq!(told(r#"{"root":{"path":"rootfs"}}"#).unwrap().name, "0123456789ab");
        assert_eq!(told(r#"{"root":{"path":"rootfs"}}"#).unwrap().root, None);
        assert_eq!(told(r#"{"annotations":{"io.mymachines.register":"false"}}"#), None);
        assert_eq!(told("no JSON").unwrap().service, "oci");
        for wrong in ["", "[]", r#"{"id":"x"}"#, r#"{"id":"x","pid":0}"#, r#"{"pid":1}"#] {
            assert!(of_oci(wrong, &|_| None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_is_none_becomes_one() {
        assert_eq!(name("default_web").unwrap().as_str(), "default-web");
        assert_eq!(name("web").unwrap().as_str(), "web");
    }
}
