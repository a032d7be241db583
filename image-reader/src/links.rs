//! Links inside a file system, which lead nowhere but into it.

/// How many links are followed for one file.
const LINKS: usize = 40;

/// What is at a path.
pub(crate) enum Found {
    /// A link, and where it leads.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

/// An absolute path without links, if what `look` finds at each part of it leads somewhere.
pub(crate) fn followed(path: &str, mut look: impl FnMut(&str) -> Option<Found>) -> Option<String> {
    let mut left: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let (mut done, mut links) = (Vec::<String>::new(), 0);
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let Found::Link(target) = look(&format!("/{}", done.join("/")))? else { continue };
        links += 1;
        if links > LINKS {
            return None;
        }
        let target = String::from_utf8(target).ok()?;
        if target.starts_with('/') {
            done.clear()
        } else {
            done.truncate(done.len().saturating_sub(1))
        }
        left.extend(target.rsplit('/').map(str::to_owned));
    }
    Some(format!("/{}", done.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_but_into_the_tree_and_in_no_circle() {
        let look = |path: &str| {
            Some(match path {
                "/etc/a" => Found::Link(b"../usr/./a".to_vec()),
                "/etc/b" => Found::Link(b"/usr/a".to_vec()),
                "/etc/out" => Found::Link(b"../../../../usr/a".to_vec()),
                "/lib" => Found::Link(b"usr".to_vec()),
                "/etc/circle" => Found::Link(b"circle".to_vec()),
                "/etc" | "/usr" | "/usr/a" => Found::Other,
                _ => return None,
            })
        };
        for path in ["/etc/a", "/etc/b", "/etc/out", "/lib/a", "//usr//a"] {
            assert_eq!(followed(path, look).as_deref(), Some("/usr/a"), "{path}");
        }
        assert_eq!(followed("/etc/circle", look), None);
        assert_eq!(followed("/none/a", look), None);
    }
}
