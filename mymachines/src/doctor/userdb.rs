//! Whether userdb has a provider of the users of machines, and whose.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Finding, has_systemd};
use crate::client::{self, CallError};

const ABOUT: &str = "userdb";
const SOCKET: &str = "/run/systemd/userdb/io.systemd.Machine";
const PATIENCE: Duration = Duration::from_secs(2);

pub fn check() -> Vec<Finding> {
    let info = client::call(SOCKET, PATIENCE, "org.varlink.service.GetInfo", &Map::new());
    vec![finding(info)]
}

fn finding(info: Result<Map<String, Value>, CallError>) -> Finding {
    let restart = if has_systemd() {
        "systemctl restart userdb-machined.socket userdb-machined.service"
    } else {
        "userdb-machined &   # from whatever supervises your daemons"
    };
    match info {
        Ok(info) => {
            let field = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or("?");
            let text = format!("{} {} of {} answers", field("product"), field("version"), field("vendor"));
            if field("vendor") == "mymachines" {
                Finding::good(ABOUT, text)
            } else {
                Finding::note(ABOUT, text)
            }
        }
        Err(CallError::NobodyThere(_)) => {
            let text =
                "no provider of the users of machines; glibc does not need it, userdbctl and nss-systemd do";
            let start = if has_systemd() { "systemctl start userdb-machined.socket" } else { restart };
            Finding::note(ABOUT, text).mend(start)
        }
        Err(CallError::NoAnswer(_) | CallError::Full) => Finding::wrong(
            ABOUT,
            format!(
                "the provider does not answer within {} s, for which every lookup of a user waits",
                PATIENCE.as_secs()
            ),
        )
        .mend(restart),
        Err(CallError::Nonsense(what)) => Finding::wrong(ABOUT, format!("{SOCKET}: {what}")).mend(restart),
        Err(CallError::Refused(id, _)) => Finding::wrong(ABOUT, format!("{SOCKET}: {id}")).mend(restart),
    }
}
