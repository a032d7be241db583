//! `doctor`: what is wrong, and the command that mends it. Nothing is changed.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::cli;
use crate::failure::{FAILED, Failure};
use crate::table::{Format, Table, Value, printable};

mod daemon;
mod denials;
mod module;
mod nsswitch;
mod polkit;
mod processes;
mod records;
mod userdb;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// Something does not work.
    Wrong,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Wrong => "WRONG",
        }
    }
}

/// What was found out about one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    level: Level,
    about: &'static str,
    text: String,
    /// The command that mends it.
    mend: Option<String>,
}

impl Finding {
    fn new(level: Level, about: &'static str, text: impl Into<String>) -> Self {
        Self { level, about, text: text.into(), mend: None }
    }

    fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Good, about, text)
    }

    fn note(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Note, about, text)
    }

    fn wrong(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Wrong, about, text)
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

/// Says what is wrong.
///
/// # Errors
/// The output cannot be written.
pub fn doctor(options: &cli::Doctor) -> Result<u8, Failure> {
    let checks = [
        daemon::check,
        module::check,
        nsswitch::check,
        userdb::check,
        records::check,
        polkit::check,
        denials::check,
    ];
    let findings: Vec<Finding> = checks.iter().flat_map(|check| check()).collect();
    let mut out = io::stdout().lock();
    if options.output.format == Format::Table {
        write_findings(&findings, &mut out)?;
    } else {
        let rows = findings.iter().map(|finding| {
            vec![
                Value::text(Some(finding.level.word())),
                Value::text(Some(finding.about)),
                Value::text(Some(&finding.text)),
                Value::text(finding.mend.as_deref()),
            ]
        });
        let table = Table { titles: vec!["level", "about", "finding", "command"], rows: rows.collect() };
        table.write(&mut out, options.output.format, !options.output.no_legend)?;
    }
    Ok(if findings.iter().any(|finding| finding.level == Level::Wrong) { FAILED } else { 0 })
}

fn write_findings(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        writeln!(out, "{:<6}{:<10}{}", finding.level.word(), finding.about, printable(&finding.text))?;
        if let Some(mend) = &finding.mend {
            writeln!(out, "{:16}-> {}", "", printable(mend))?;
        }
    }
    Ok(())
}

/// Whether this host was booted with systemd, sd_booted(3).
fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The first of these files that there is.
fn first_of<'a>(paths: &[&'a str]) -> Option<&'a str> {
    paths.iter().copied().find(|path| fs::metadata(path).is_ok())
}
