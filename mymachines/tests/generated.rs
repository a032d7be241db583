//! The completions and the manual page come from the command line's source. They are checked in, so that installing
//! needs no program that runs on the host that builds; `make pages` writes them anew, and this compares.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_mangen::Man;
use mymachines::cli::{COMPLETION_VARIABLE, Options};

const NAME: &str = "mymachines";

/// Compares a file below the repository with what it should be, or writes it, if that is asked for.
fn settle(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    if std::env::var_os("MYMACHINES_WRITE_PAGES").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, made)| found != made);
    assert!(found == text, "{file} is not what the source says: make pages; first here: {differs:?}");
}

fn registration(shell: &dyn EnvCompleter) -> String {
    let mut script = Vec::new();
    shell.write_registration(COMPLETION_VARIABLE, NAME, NAME, NAME, &mut script).unwrap();
    String::from_utf8(script).unwrap()
}

#[test]
fn the_completions_are_those_of_the_source() {
    settle("mymachines/completions/mymachines", &registration(&Bash));
    settle("mymachines/completions/_mymachines", &registration(&Zsh));
    settle("mymachines/completions/mymachines.fish", &registration(&Fish));
}

#[test]
fn the_manual_page_is_that_of_the_source() {
    settle("docs/man/mymachines.1", &page());
}

#[test]
fn the_page_of_the_record_has_all_its_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/machine-record.5");
    let page = fs::read_to_string(path).unwrap();
    let tagged: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(".B ") || line.starts_with(".BR "))
        .flat_map(|line| line.split([' ', ',', '"']))
        .collect();
    for key in registry::Key::ALL {
        assert!(tagged.contains(&key.name()), "machine-record(5) does not say what {} is", key.name());
    }
}

/// One page for all verbs.
fn page() -> String {
    let mut command = Options::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).title("MYMACHINES").section("1").manual("mymachines").date("");
    man.render_title(&mut page).unwrap();
    page.extend_from_slice(
        b".SH NAME\nmymachines \\- machines of this host: list them, ask about them, end them\n",
    );
    page.extend_from_slice(
        b".SH SYNOPSIS\n.B mymachines\n.I COMMAND\n[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n",
    );
    man.render_description_section(&mut page).unwrap();
    page.extend_from_slice(b".SH COMMANDS\n");
    for verb in verbs(&command) {
        let mut verb = verb.clone().disable_help_flag(true).disable_version_flag(true);
        let usage = verb.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
        page.extend_from_slice(format!(".SS \"{usage}\"\n").as_bytes());
        let about = verb.get_long_about().or(verb.get_about()).unwrap().to_string();
        page.extend_from_slice(roff(&about).as_bytes());
        let mut options = Vec::new();
        let shown = verb.get_arguments().filter(|argument| !argument.is_hide_set()).count();
        if shown > 0 {
            let kept = verb.clone().mut_args(|argument| {
                let is_general = matches!(argument.get_id().as_str(), "help" | "version");
                argument.hide(is_general)
            });
            Man::new(kept).render_options_section(&mut options).unwrap();
        }
        let options = String::from_utf8(options).unwrap();
        page.extend_from_slice(options.replace(".SH OPTIONS\n", "").as_bytes());
    }
    page.extend_from_slice(include_bytes!("../man/more.roff"));
    let text = String::from_utf8(page).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What can be done: a verb, or what there is below it.
fn verbs(command: &Command) -> Vec<&Command> {
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    verbs
        .flat_map(|verb| {
            let below = verbs_below(verb);
            if below.is_empty() { vec![verb] } else { below }
        })
        .collect()
}

fn verbs_below(verb: &Command) -> Vec<&Command> {
    verb.get_subcommands().filter(|verb| verb.get_name() != "help").collect()
}

/// Paragraphs of plain text; a line that begins with a dot would be a request.
fn roff(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let paragraph = paragraph.replace('\\', "\\e").replace('-', "\\-");
        if paragraph.starts_with(['.', '\'']) {
            format!("\\&{paragraph}\n")
        } else {
            format!("{paragraph}\n")
        }
    });
    paragraphs.collect::<Vec<_>>().join(".PP\n")
}
