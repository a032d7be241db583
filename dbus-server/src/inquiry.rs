//! Asks the bus about those who are on it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, OwnedVariant};

/// How long the bus has to say who somebody is.
const ANSWER: Duration = Duration::from_secs(10);

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// What a bus says of a connection, by one of its methods.
pub(crate) async fn describe(
    connection: &Connection,
    interface: &'static str,
    method: &'static str,
    name: String,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let connection = connection.clone();
    // A message is written to its end, whoever waits for the answer.
    let asked = tokio::task::spawn_local(async move {
        connection.call_method(Some(BUS), BUS_PATH, Some(interface), method, &name).await
    });
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let answer = timeout(ANSWER, asked).await.map_err(|_| late())?.map_err(std::io::Error::other)??;
    answer.body().deserialize()
}
