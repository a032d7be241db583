//! How far a copy is, as one line of a terminal that is written over again and again.

use std::io::Write;

use serde_json::{Map, Value};

/// How many characters the bar has between its brackets.
const BAR: usize = 24;
/// Goes to the beginning of the line, and clears it.
const CLEAR: &str = "\r\x1b[K";

/// The line; it is cleared when this is dropped.
#[derive(Debug)]
pub struct Progress<W: Write> {
    out: W,
    is_shown: bool,
}

impl<W: Write> Progress<W> {
    /// Nothing is shown yet.
    pub const fn new(out: W) -> Self {
        Self { out, is_shown: false }
    }

    /// Shows what a reply of `io.mymachines.Copying.Copy` says.
    pub fn show(&mut self, reply: &Map<String, Value>) {
        self.is_shown = true;
        // A terminal that takes nothing any more does not keep the copy from going on.
        let _ = write!(self.out, "{CLEAR}{}", line(reply)).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(self.out, "{CLEAR}").and_then(|()| self.out.flush());
        }
    }
}

fn line(reply: &Map<String, Value>) -> String {
    let number = |name: &str| reply.get(name).and_then(Value::as_u64);
    let (bytes, files) = (number("bytes").unwrap_or(0), number("files").unwrap_or(0));
    let (Some(of_bytes), Some(of_files)) = (number("totalBytes"), number("totalFiles")) else {
        return format!("{}, {files} files", amount(bytes));
    };
    // Many empty files are work too: what is behind says how far it is. What has been written to since may be more than was
    // counted.
    let share = share(bytes, of_bytes).min(share(files, of_files));
    let done = share.saturating_mul(BAR) / 100;
    let bar = "=".repeat(done) + if done < BAR { ">" } else { "" };
    format!(
        "[{bar:BAR$}] {share:>3} %  {} of {}, {files} of {of_files} files",
        amount(bytes),
        amount(of_bytes)
    )
}

/// So many hundredths of the whole, 100 at most.
fn share(part: u64, whole: u64) -> usize {
    let hundredths = u128::from(part).saturating_mul(100).checked_div(u128::from(whole)).unwrap_or(100);
    usize::try_from(hundredths).unwrap_or(100).min(100)
}

/// Bytes, by a thousand.
fn amount(bytes: u64) -> String {
    let mut unit = "B";
    let (mut whole, mut tenths) = (bytes, 0);
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if whole < 1000 {
            break;
        }
        (whole, tenths, unit) = (whole / 1000, whole % 1000 / 100, next);
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reply: Value) -> String {
        line(reply.as_object().unwrap())
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let reply =
            serde_json::json!({"bytes": 1_500_000, "files": 60, "totalBytes": 3_000_000, "totalFiles": 100});
        assert_eq!(told(reply), "[============>           ]  50 %  1.5 MB of 3.0 MB, 60 of 100 files");
        let few = serde_json::json!({"bytes": 0, "files": 1, "totalBytes": 0, "totalFiles": 4});
        assert_eq!(told(few), "[======>                 ]  25 %  0 B of 0 B, 1 of 4 files");
        let grown = serde_json::json!({"bytes": 9000, "files": 1, "totalBytes": 10, "totalFiles": 1});
        assert_eq!(told(grown), "[========================] 100 %  9.0 kB of 10 B, 1 of 1 files");
        assert_eq!(told(serde_json::json!({"bytes": 999, "files": 2})), "999 B, 2 files");
    }

    #[test]
    fn amounts_are_told_by_a_thousand() {
        let words: Vec<String> = [0, 999, 1000, 123_456, 999_999, u64::MAX].map(amount).into();
        assert_eq!(words, ["0 B", "999 B", "1.0 kB", "123.4 kB", "999.9 kB", "18.4 EB"]);
    }

    #[test]
    fn the_line_is_cleared_at_the_end() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out);
        progress.show(&Map::new());
        drop(progress);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{CLEAR}0 B, 0 files{CLEAR}"));
        let mut silent = Vec::new();
        drop(Progress::new(&mut silent));
        assert!(silent.is_empty());
    }
}
