//! What /etc/nsswitch.conf has glibc ask, nsswitch.conf(5).

use std::fs;

use super::{Finding, Level, first_of};

const ABOUT: &str = "nsswitch";
const FILE: &str = "/etc/nsswitch.conf";
const WORD: &str = "mymachines";

pub fn check() -> Vec<Finding> {
    match fs::read_to_string(FILE) {
        Ok(text) => findings(&text, first_of(&["/run/systemd/userdb/io.systemd.Machine"]).is_some()),
        Err(error) => vec![Finding::wrong(ABOUT, format!("cannot read {FILE}: {error}"))],
    }
}

fn findings(text: &str, has_userdb: bool) -> Vec<Finding> {
    vec![hosts(text), ids(text, "passwd", has_userdb), ids(text, "group", has_userdb)]
}

/// The words of a database's line, actions in brackets as one word each.
fn services(text: &str, database: &str) -> Option<Vec<String>> {
    let line = text.lines().rev().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, rest) = line.split_once(':')?;
        (name.trim() == database).then_some(rest)
    })?;
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let end = if rest.starts_with('[') {
            rest.find(']').map_or(rest.len(), |at| at.saturating_add(1))
        } else {
            rest.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end);
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

/// Whether these words end the search before `mymachines` where `resolve` or another service knows no answer.
fn ends_before(words: &[String]) -> Option<&str> {
    let before = words.iter().take_while(|word| *word != WORD);
    before
        .filter(|word| word.starts_with('['))
        .find(|action| {
            let action = action.to_uppercase().replace(' ', "");
            ["NOTFOUND=RETURN", "!UNAVAIL=RETURN", "!SUCCESS=RETURN", "!TRYAGAIN=RETURN"]
                .iter()
                .any(|ending| action.contains(ending))
        })
        .map(String::as_str)
}

fn hosts(text: &str) -> Finding {
    let Some(words) = services(text, "hosts") else {
        return Finding::wrong(ABOUT, "there is no line of hosts")
            .mend(format!("echo 'hosts: files {WORD} dns' >>{FILE}"));
    };
    let line = format!("hosts: {}", words.join(" "));
    let at = |word: &str| words.iter().position(|other| other == word);
    let Some(own) = at(WORD) else {
        let before = if at("files").is_some() {
            ("files", format!("files {WORD}"))
        } else {
            ("hosts:", format!("hosts: {WORD}"))
        };
        return Finding::wrong(ABOUT, format!("{line}: glibc does not ask {WORD}"))
            .mend(format!("sed -i '/^hosts:/s/{}/{}/' {FILE}", before.0, before.1));
    };
    if let Some(action) = ends_before(&words) {
        return Finding::wrong(ABOUT, format!("{line}: {action} before {WORD} ends the search"))
            .mend(format!("sed -i '/^hosts:/{{s/ {WORD}//;s/files/files {WORD}/}}' {FILE}"));
    }
    match (at("files"), at("dns")) {
        (Some(files), _) if own < files => {
            Finding::note(ABOUT, format!("{line}: who registers a machine can shadow a name of /etc/hosts"))
                .mend(format!("sed -i '/^hosts:/{{s/ {WORD}//;s/files/files {WORD}/}}' {FILE}"))
        }
        (_, Some(dns)) if own > dns => {
            Finding::note(ABOUT, format!("{line}: the network is asked for machines first"))
                .mend(format!("sed -i '/^hosts:/{{s/ {WORD}//;s/files/files {WORD}/}}' {FILE}"))
        }
        _ => Finding::good(ABOUT, line),
    }
}

/// `passwd` and `group`: asked from files, or through nss-systemd and userdb.
fn ids(text: &str, database: &'static str, has_userdb: bool) -> Finding {
    let words = services(text, database).unwrap_or_default();
    let line = format!("{database}: {}", words.join(" "));
    if words.iter().any(|word| word == WORD) {
        return match ends_before(&words) {
            Some(action) => Finding::wrong(ABOUT, format!("{line}: {action} before {WORD} ends the search")),
            None => Finding::good(ABOUT, line),
        };
    }
    if words.iter().any(|word| word == "systemd") && has_userdb {
        return Finding::good(ABOUT, format!("{line}: through userdb"));
    }
    let text = format!("{line}: users of containers are bare numbers");
    let command = match database {
        "passwd" => format!("sed -i '/^passwd:/s/files/files {WORD}/' {FILE}"),
        _ => format!("sed -i '/^group:/s/files/files {WORD}/' {FILE}"),
    };
    Finding::new(Level::Note, ABOUT, text).mend(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(hosts: &str) -> Level {
        super::hosts(&format!("passwd: files\nhosts: {hosts}\n")).level
    }

    #[test]
    fn a_line_is_words_and_actions() {
        let text = "# hosts: x\nhosts:  files resolve [!UNAVAIL=return]dns # y\n";
        assert_eq!(services(text, "hosts").unwrap(), ["files", "resolve", "[!UNAVAIL=return]", "dns"]);
        assert_eq!(services(text, "passwd"), None);
    }

    #[test]
    fn the_order_of_hosts_is_judged() {
        assert_eq!(level("files mymachines dns"), Level::Good);
        assert_eq!(level("files mymachines resolve [!UNAVAIL=return] dns"), Level::Good);
        assert_eq!(level("mymachines files dns"), Level::Note);
        assert_eq!(level("files dns mymachines"), Level::Note);
        assert_eq!(level("files dns"), Level::Wrong);
        assert_eq!(level("files resolve [!UNAVAIL=return] mymachines dns"), Level::Wrong);
        assert_eq!(level("files mdns4_minimal [NOTFOUND=return] mymachines"), Level::Wrong);
        assert_eq!(level("files [SUCCESS=return] mymachines"), Level::Good);
    }

    #[test]
    fn users_may_come_from_userdb() {
        let text = "passwd: files systemd\ngroup: files mymachines\n";
        assert_eq!(ids(text, "passwd", true).level, Level::Good);
        assert_eq!(ids(text, "passwd", false).level, Level::Note);
        assert_eq!(ids(text, "group", false).level, Level::Good);
        assert_eq!(ids("", "group", true).level, Level::Note);
    }
}
