//! Writes the header of libmachine's C interface and the manual pages: `machine-header CRATE HEADER MANUAL`, CRATE being the
//! directory of libmachine-c.

mod man;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, header, manual] = arguments.as_slice() else {
        eprintln!("usage: machine-header CRATE HEADER MANUAL");
        return ExitCode::from(2);
    };
    match write(Path::new(directory), Path::new(header), Path::new(manual)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("machine-header: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, to: &Path, manual: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let text = header(directory)?;
    std::fs::write(to, &text)?;
    man::write(&text, &directory.join("man"), manual)
}

fn header(directory: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .ok_or("Cargo.toml has no version")?;
    let mut bytes = Vec::new();
    cbindgen::generate(directory)?.write(&mut bytes);
    let mut number = 0_u32;
    for part in version.split('.') {
        number = number * 1000 + part.parse::<u32>()?;
    }
    let text =
        String::from_utf8(bytes)?.replace("@VERSION@", version).replace("@NUMBER@", &number.to_string());
    Ok(text.lines().map(|line| as_in_c89(line) + "\n").collect())
}

/// cbindgen ends its conditionals with comments that C89 does not know.
fn as_in_c89(line: &str) -> String {
    match line.split_once("  // ").or_else(|| line.split_once(" // ")) {
        Some((start, comment)) if line.starts_with(['#', '}']) => format!("{start} /* {comment} */"),
        _ => line.trim_end().to_owned(),
    }
}
