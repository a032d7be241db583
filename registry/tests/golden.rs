//! Records that the originals wrote, systemd 257 and 262, beside what the originals said of the same machines.
//!
//! `tests/lab/golden.sh` writes them anew.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::path::PathBuf;

use registry::{MachineName, Record};
use serde_json::Value;

/// Values that 257 escapes when it writes and does not unescape when it reads: nobody gets them back.
const LOST_BY_257: [&str; 4] = ["service-blanks", "root-utf8", "service-newline", "service-utf8"];

struct Golden {
    version: &'static str,
    name: MachineName,
    text: String,
    /// What the original's `List` said.
    list: Value,
}

fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    for version in ["257", "262"] {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(version);
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            if file == "links.txt" || path.extension().is_some_and(|extension| extension == "json") {
                continue;
            }
            let json = fs::read_to_string(directory.join(format!("{file}.json"))).unwrap();
            let json: Value = serde_json::from_str(&json).unwrap();
            let name = MachineName::new(file.as_bytes()).unwrap();
            all.push(Golden {
                version,
                name,
                text: fs::read_to_string(&path).unwrap(),
                list: json["list"].clone(),
            });
        }
    }
    assert!(all.len() >= 60, "{} golden records", all.len());
    all
}

#[test]
fn what_the_original_wrote_is_what_it_says() {
    for golden in all() {
        let at = format!("{} {}", golden.version, golden.name);
        let record = Record::parse(&golden.name, golden.text.as_bytes()).unwrap();
        let list = &golden.list;
        let text = |key: &str| list[key].as_str().map(str::to_owned);
        assert_eq!(record.class.name(), list["class"], "{at}");
        assert_eq!(record.unit, text("unit"), "{at}");
        assert_eq!(record.id.map(|id| id.to_string()), text("id"), "{at}");
        assert_eq!(record.realtime, list["timestamp"]["realtime"].as_u64(), "{at}");
        assert_eq!(record.monotonic, list["timestamp"]["monotonic"].as_u64(), "{at}");
        assert_eq!(record.leader.map(|leader| i64::from(leader.pid)), list["leader"]["pid"].as_i64(), "{at}");
        if !(golden.version == "257" && LOST_BY_257.contains(&golden.name.as_str())) {
            assert_eq!(record.service, text("service"), "{at}");
            assert_eq!(record.root, text("rootDirectory"), "{at}");
        }
        assert!(record.unknown.is_empty(), "{at}: {:?}", record.unknown);
        if golden.version == "262" {
            assert_eq!(
                record.leader.and_then(|leader| leader.pidfd_id),
                list["leader"]["pidfdId"].as_u64(),
                "{at}"
            );
            let supervisor = list["supervisor"]["pid"].as_i64();
            assert_eq!(record.supervisor.map(|supervisor| i64::from(supervisor.pid)), supervisor, "{at}");
            assert_eq!(record.uid.map(u64::from), list["UID"].as_u64(), "{at}");
            assert_eq!(record.vsock_cid.map(u64::from), list["vSockCid"].as_u64(), "{at}");
            assert_eq!(record.ssh_address, text("sshAddress"), "{at}");
            assert_eq!(record.ssh_private_key_path, text("sshPrivateKeyPath"), "{at}");
            assert_eq!(record.control_address, text("controlAddress"), "{at}");
        }
    }
}

#[test]
fn every_golden_record_survives_a_round_trip() {
    for golden in all() {
        let record = Record::parse(&golden.name, golden.text.as_bytes()).unwrap();
        let emitted = record.emit();
        assert_eq!(Record::parse(&golden.name, emitted.as_bytes()).unwrap(), record, "{}", golden.name);
        if golden.version == "262" {
            // Byte for byte, but for the wildcard that 262 writes for "no context id".
            let expected: String = golden
                .text
                .lines()
                .filter(|line| *line != "VSOCK_CID=4294967295")
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(emitted, expected, "{}", golden.name);
        }
    }
}
