//! Prints the header of libmachine's C interface: `machine-header CRATE`, CRATE being the directory of libmachine-c.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: machine-header CRATE");
        return ExitCode::from(2);
    };
    match header(Path::new(&directory)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("machine-header: {error}");
            ExitCode::FAILURE
        }
    }
}

fn header(directory: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .ok_or("Cargo.toml has no version")?;
    let mut bytes = Vec::new();
    cbindgen::generate(directory)?.write(&mut bytes);
    let text = String::from_utf8(bytes)?.replace("@VERSION@", version);
    Ok(text.lines().map(|line| as_in_c89(line) + "\n").collect())
}

/// cbindgen ends its conditionals with comments that C89 does not know.
fn as_in_c89(line: &str) -> String {
    match line.split_once("  // ").or_else(|| line.split_once(" // ")) {
        Some((start, comment)) if line.starts_with(['#', '}']) => format!("{start} /* {comment} */"),
        _ => line.trim_end().to_owned(),
    }
}
