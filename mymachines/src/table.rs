//! Rows of values, written as a table, as CSV (RFC 4180) or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value as Json;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// Comma-separated values, RFC 4180
    Csv,
    /// One JSON array of objects (watch: one object per line)
    Json,
}

/// A cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Not known, or there is none.
    None,
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Several texts, of which none is ever left out or cut.
    List(Vec<String>),
}

impl Value {
    /// A text, if there is one.
    pub fn text(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_owned()))
    }

    /// A number, if there is one.
    pub fn number(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self::None, |number| Self::Number(number.into()))
    }

    /// As text on one line: what is no printable character is escaped, since others wrote it, and the reader's terminal
    /// must not act upon it.
    fn shown(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => printable(text),
            Self::Number(number) => number.to_string(),
            Self::List(list) => list.iter().map(|text| printable(text)).collect::<Vec<_>>().join(" "),
        }
    }

    /// As lines, one for each text; none where nothing is known.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::List(list) => list.iter().map(|text| printable(text)).collect(),
            one => vec![one.shown()],
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::None => Json::Null,
            Self::Text(text) => Json::from(text.as_str()),
            Self::Number(number) => Json::from(*number),
            Self::List(list) => Json::from(list.clone()),
        }
    }
}

/// A text without control characters.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Rows under their titles.
#[derive(Debug)]
pub struct Table {
    /// The names of the columns, in lower case.
    pub titles: Vec<&'static str>,
    /// Each with one value for each title.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Writes all rows.
    ///
    /// # Errors
    /// That of the writing.
    pub fn write(&self, to: &mut dyn Write, format: Format, legend: bool) -> io::Result<()> {
        match format {
            Format::Table => self.write_aligned(to, legend),
            Format::Csv => {
                if legend {
                    self.write_titles(to)?;
                }
                self.rows.iter().try_for_each(|row| write_csv(to, row))
            }
            Format::Json => {
                let rows: Vec<String> =
                    self.rows.iter().map(|row| format!("  {}", self.object(row))).collect();
                if rows.is_empty() { writeln!(to, "[]") } else { writeln!(to, "[\n{}\n]", rows.join(",\n")) }
            }
        }
    }

    /// Writes the titles of a CSV file.
    ///
    /// # Errors
    /// That of the writing.
    pub fn write_titles(&self, to: &mut dyn Write) -> io::Result<()> {
        let titles: Vec<Value> = self.titles.iter().map(|title| Value::text(Some(title))).collect();
        write_csv(to, &titles)
    }

    /// A row as a JSON object on one line, in the order of the columns.
    pub fn object(&self, row: &[Value]) -> String {
        let member = |(title, value): (&&str, &Value)| {
            format!("{}: {}", Json::from(title.replace('-', "_")), value.json())
        };
        let members: Vec<String> = self.titles.iter().zip(row).map(member).collect();
        format!("{{{}}}", members.join(", "))
    }

    fn write_aligned(&self, to: &mut dyn Write, legend: bool) -> io::Result<()> {
        let mut lines: Vec<Vec<String>> = Vec::with_capacity(self.rows.len().saturating_add(1));
        if legend {
            lines.push(self.titles.iter().map(|title| title.to_uppercase()).collect());
        }
        for row in &self.rows {
            let cells = row.iter().map(|value| match value.shown() {
                empty if empty.is_empty() => "-".to_owned(),
                shown => shown,
            });
            lines.push(cells.collect());
        }
        let mut widths = vec![0_usize; self.titles.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "{cell:width$} ");
            }
            writeln!(to, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Writes a row of a CSV file.
///
/// # Errors
/// That of the writing.
pub fn write_csv(to: &mut dyn Write, row: &[Value]) -> io::Result<()> {
    let cells: Vec<String> = row
        .iter()
        .map(|value| {
            let shown = value.shown();
            if shown.contains([',', '"']) { format!("\"{}\"", shown.replace('"', "\"\"")) } else { shown }
        })
        .collect();
    write!(to, "{}\r\n", cells.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, legend: bool) -> String {
        let table = Table {
            titles: vec!["machine", "vsock-cid", "addresses"],
            rows: vec![
                vec![
                    Value::Text("web".into()),
                    Value::None,
                    Value::List(vec!["10.0.0.2".into(), "fd00::2".into()]),
                ],
                vec![Value::Text("a,\"b\"\n\u{1b}[31m".into()), Value::Number(7), Value::List(vec![])],
            ],
        };
        let mut text = Vec::new();
        table.write(&mut text, format, legend).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_cuts_nothing() {
        let expected = "MACHINE           VSOCK-CID ADDRESSES\n\
                        web               -         10.0.0.2 fd00::2\n\
                        a,\"b\"\\n\\u{1b}[31m 7         -\n";
        assert_eq!(written(Format::Table, true), expected);
        assert_eq!(written(Format::Table, false).lines().count(), 2);
    }

    #[test]
    fn csv_quotes_what_must_be_quoted() {
        let expected = "machine,vsock-cid,addresses\r\n\
                        web,,10.0.0.2 fd00::2\r\n\
                        \"a,\"\"b\"\"\\n\\u{1b}[31m\",7,\r\n";
        assert_eq!(written(Format::Csv, true), expected);
    }

    #[test]
    fn json_keeps_types_and_order() {
        let json: Json = serde_json::from_str(&written(Format::Json, true)).unwrap();
        assert_eq!(json[0]["addresses"][1], "fd00::2");
        assert_eq!(json[0]["vsock_cid"], Json::Null);
        assert_eq!(json[1]["vsock_cid"], 7);
        assert_eq!(json[1]["machine"], "a,\"b\"\n\u{1b}[31m");
        assert!(written(Format::Json, true).starts_with("[\n  {\"machine\": \"web\", \"vsock_cid\": null, "));
    }
}
