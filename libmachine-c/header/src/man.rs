//! The manual pages, from the comments of the header: one for each group of functions, and one that leads to it for each
//! other function of the group. Beside these there are pages written by hand, `man/NAME.3.in`; and each page of functions ends
//! with a program, `man/examples/NAME.c`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Constants of which a page has all or none.
const GROUPS: [&str; 2] = ["MACHINE_RULE_", "MACHINE_MONITOR_"];

/// A page: the function that it is named after, what the group is for, and the other functions.
struct Page {
    name: String,
    summary: String,
    functions: Vec<String>,
}

/// What the header says of a function.
struct Entry {
    comment: Vec<String>,
    prototype: String,
}

/// Writes the pages into a directory, from what is in another.
pub fn write(header: &str, from: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let pages = fs::read_to_string(from.join("pages"))?;
    let pages: Vec<_> = pages
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(page)
        .collect::<Option<_>>()
        .ok_or("a line of pages is not NAME: SUMMARY: FUNCTION...")?;
    let mut written = 0;
    for page in &pages {
        fs::write(directory.join(file(&page.name)), text(page, header, &example(from, &page.name)?)?)?;
        for other in page.functions.iter().filter(|other| **other != page.name) {
            fs::write(directory.join(file(other)), format!(".so man3/{}\n", file(&page.name)))?;
        }
        written += page.functions.len();
    }
    let declared = header.lines().filter(|line| line.ends_with(");") && !line.starts_with(' ')).count();
    if written != declared {
        return Err(format!("the pages have {written} functions, the header has {declared}").into());
    }
    let list: String = pages
        .iter()
        .map(|page| format!(".TP\n.BR {} ({})\n{}\n", page.name, section(&page.name), escape(&page.summary)))
        .collect();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".in")) else { continue };
        let mut text = String::new();
        for line in fs::read_to_string(path)?.lines() {
            match line.strip_prefix("@EXAMPLE ").and_then(|rest| rest.strip_suffix('@')) {
                Some(of) => text.push_str(&example(from, of)?),
                None if line == "@PAGES@" => text.push_str(&list),
                None => writeln!(text, "{line}")?,
            }
        }
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// A program, as a page shows it.
fn example(from: &Path, name: &str) -> Result<String, Box<dyn Error>> {
    let path = from.join("examples").join(format!("{name}.c"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!(".nf\n{}.fi\n", text.lines().map(|line| escape(line) + "\n").collect::<String>()))
}

/// The constants of the header that a text speaks of, with what they are and what they mean.
fn constants(header: &str, text: &str) -> String {
    let lines: Vec<_> = header.lines().collect();
    let mut found = String::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, value)) = line.strip_prefix("#define MACHINE_").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let name = format!("MACHINE_{name}");
        let is_meant =
            text.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').any(|word| word == name);
        // A name that others begin with stands for them: "MACHINE_RULE_EMPTY and so on".
        let is_of_group = GROUPS.iter().any(|group| name.starts_with(group) && text.contains(group));
        if !is_meant && !is_of_group {
            continue;
        }
        let start = lines[..at].iter().rposition(|line| *line == "/**").map_or(at, |start| start + 1);
        let meaning: Vec<_> = lines[start..at.saturating_sub(1).max(start)]
            .iter()
            .map(|line| line.trim_start_matches(" * "))
            .collect();
        found += &format!(".TP\n.BR {name} \" = {value}\"\n{}\n", escape(&meaning.join("\n")));
    }
    if found.is_empty() { found } else { format!(".SH CONSTANTS\n{found}") }
}

fn page(line: &str) -> Option<Page> {
    let mut fields = line.splitn(3, ": ");
    let (name, summary, functions) = (fields.next()?, fields.next()?, fields.next()?);
    let functions = functions.split(' ').map(str::to_owned).collect();
    Some(Page { name: name.into(), summary: summary.into(), functions })
}

/// libsystemd has pages of the same names.
fn section(name: &str) -> &'static str {
    if name.starts_with("sd_") { "3machine" } else { "3" }
}

fn file(name: &str) -> String {
    format!("{name}.{}", section(name))
}

/// The comment and the prototype of a function.
fn entry(header: &str, name: &str) -> Result<Entry, String> {
    let lines: Vec<_> = header.lines().collect();
    // Not that of another function whose name ends so: sd_pid_get_machine_name() is not machine_name().
    let declares = |line: &str| {
        let before = line.split_once(&format!("{name}(")).map(|(before, _)| before);
        before.is_some_and(|before| before.ends_with([' ', '*']))
            && line.ends_with(");")
            && !line.starts_with(' ')
    };
    let at =
        lines.iter().position(|line| declares(line)).ok_or_else(|| format!("the header lacks {name}"))?;
    let start = lines[..at]
        .iter()
        .rposition(|line| *line == "/**")
        .ok_or_else(|| format!("{name} has no comment"))?;
    let comment = lines[start + 1..at - 1]
        .iter()
        .map(|line| line.strip_prefix(" *").unwrap_or(line))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .collect();
    Ok(Entry { comment, prototype: lines[at].into() })
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn text(page: &Page, header: &str, example: &str) -> Result<String, Box<dyn Error>> {
    let mut text = format!(
        ".\\\" Written from the comments of machine.h by `make header`: do not edit.\n.TH {} {} \"\" mymachines \"libmachine\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.nf\n.B #include <machine.h>\n",
        page.name.to_uppercase(),
        section(&page.name),
        page.functions.join(", "),
        escape(&page.summary),
    );
    for name in &page.functions {
        writeln!(text, ".PP\n.B \"{}\"", escape(&entry(header, name)?.prototype).replace('"', "\\(dq"))?;
    }
    text.push_str(
        ".fi\n.PP\nLink with \\fI\\-lmachine\\fP, as pkg\\-config says of libmachine.\n.SH DESCRIPTION\n",
    );
    for name in &page.functions {
        writeln!(text, ".SS {name}()")?;
        describe(&mut text, &entry(header, name)?.comment)?;
    }
    let constants = constants(header, &text);
    text.push_str(&constants);
    text.push_str(".SH ERRORS\nWhat each error means, whichever function returns it, and what to do about it, is in\n.BR machine (3),\nRETURN VALUE.\n.SH EXAMPLE\n");
    text.push_str(example);
    text.push_str(
        ".SH SEE ALSO\n.BR machine (3),\n.BR machine\\-howto (3),\n.BR machine\\-environment (3)\n",
    );
    Ok(text)
}

/// The paragraphs of a comment; its list of parameters is a list.
fn describe(text: &mut String, comment: &[String]) -> std::fmt::Result {
    let mut in_parameters = false;
    for line in comment {
        if line == "Parameters:" {
            in_parameters = true;
        } else if in_parameters && let Some((name, meaning)) = line.trim_start().split_once("  ") {
            writeln!(text, ".TP\n.I {name}\n{}", escape(meaning.trim_start()))?;
        } else if line.is_empty() {
            in_parameters = false;
            text.push_str(".PP\n");
        } else {
            match line.split_once(": ").filter(|(head, _)| matches!(*head, "Returns" | "Memory")) {
                Some((head, rest)) => writeln!(text, ".B {head}:\n{}", escape(rest))?,
                None => writeln!(text, "{}", escape(line))?,
            }
        }
    }
    Ok(())
}
