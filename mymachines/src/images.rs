//! `images`: the images that machined finds.

use std::io;

use serde_json::{Map, Value as Json};

use crate::cli;
use crate::client::{CallError, call_for_all};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::manage::{NO_SUCH_IMAGE, PATIENCE, explained};
use crate::table::{Format, Table, Value};

const METHOD: &str = "io.systemd.MachineImage.List";
/// The columns, and what fields of an answer they are.
const COLUMNS: [(&str, &str); 9] = [
    ("name", "name"),
    ("type", "type"),
    ("class", "class"),
    ("read-only", "readOnly"),
    ("usage", "usage"),
    ("limit", "limit"),
    ("created", "creationTimestamp"),
    ("modified", "modificationTimestamp"),
    ("path", "path"),
];

/// Lists images.
///
/// # Errors
/// They cannot be asked for, there is none of a name, or the output cannot be written.
pub fn images(options: &cli::Images) -> Result<u8, Failure> {
    let daemon = Daemon::said(&options.whose)?;
    let socket = daemon.images();
    let mut rows = Vec::new();
    if options.names.is_empty() {
        let mut found = match call_for_all(&socket, PATIENCE, METHOD, &Map::new()) {
            // The system's daemon has the host at least; a user's own may have none.
            Err(CallError::Refused(id, _)) if id == NO_SUCH_IMAGE => Vec::new(),
            found => found.map_err(|error| explained(error, &daemon, ""))?,
        };
        found.retain(|image| !name(image).starts_with('.'));
        found.sort_by(|one, other| name(one).cmp(name(other)));
        rows.extend(found.iter().map(row));
    }
    let mut code = 0;
    for name in &options.names {
        let parameters = Map::from_iter([("name".to_owned(), Json::from(name.as_str()))]);
        match call_for_all(&socket, PATIENCE, METHOD, &parameters) {
            Ok(found) => rows.extend(found.iter().map(row)),
            Err(error) => {
                let failure = explained(error, &daemon, name);
                failure.print();
                code = code.max(failure.code());
            }
        }
    }
    let output = &options.output;
    let table = Table { titles: COLUMNS.iter().map(|(title, _)| *title).collect(), rows };
    table.write(&mut io::stdout().lock(), output.format, !output.no_legend)?;
    if table.rows.is_empty() && code == 0 && output.format == Format::Table && !output.no_legend {
        eprintln!("No images.");
    }
    Ok(code)
}

fn name(image: &Map<String, Json>) -> &str {
    image.get("name").and_then(Json::as_str).unwrap_or_default()
}

fn row(image: &Map<String, Json>) -> Vec<Value> {
    let cell = |field: &str| match image.get(field) {
        Some(Json::String(text)) => Value::Text(text.clone()),
        Some(Json::Bool(yes)) => Value::Text(if *yes { "yes" } else { "no" }.to_owned()),
        Some(Json::Number(number)) => Value::number(number.as_u64()),
        _ => Value::None,
    };
    COLUMNS.iter().map(|(_, field)| cell(field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_does_not_have_is_not_made_up() {
        let image = serde_json::json!({"name": "web", "type": "directory", "readOnly": true, "usage": 7, "limit": null});
        let cells = row(image.as_object().unwrap());
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(cells[..5], [text("web"), text("directory"), Value::None, text("yes"), Value::Number(7)]);
        assert!(cells[5..].iter().all(|cell| *cell == Value::None));
    }
}
