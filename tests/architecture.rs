//! Checks the layers of the crate: which module may import which, and which modules are pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the modules that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("policy", &["model"]),
    ("state", &["model", "policy"]),
    ("text", &[]),
    ("report", &["model", "policy", "state", "exposition", "text"]),
    ("aws", &["model", "source"]),
    ("source", &["model", "policy"]),
    ("exposition", &["model", "policy", "state", "source", "aws"]),
    ("schedule", &["model", "policy", "source", "state"]),
    ("http", &["model", "state", "exposition"]),
    ("cli", &["config"]),
    ("config", &["model", "policy", "source", "exposition"]),
    ("telemetry", &["config", "text"]),
    (
        "app",
        &["model", "policy", "state", "report", "aws", "source", "exposition", "schedule", "http", "cli", "config"],
    ),
    ("main", &["app", "cli", "config", "http", "source", "telemetry"]),
    ("lib", &[]),
];

/// Files and directories that use no runtime, network, files, environment or clock.
const PURE: &[&str] = &["text", "model", "policy", "state", "report", "exposition/families", "exposition/family"];
const IMPURE: &[&str] = &[
    "tokio::",
    "hyper::",
    "hyper_util::",
    "aws_sdk",
    "aws_smithy",
    "aws_config",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "Timestamp::now",
    "SystemTime",
    "Instant",
    "std::io::std",
    "fastrand",
    "tracing::",
];

fn sources() -> BTreeMap<String, String> {
    fn visit(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files);
    files
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().with_extension("").to_str().unwrap().to_owned();
            (name, code(&fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

/// The file without its tests and without comments.
fn code(text: &str) -> String {
    let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
    code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// The modules named after `crate::` (in the binary, after the crate's name).
fn imports(code: &str) -> Vec<&str> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rooms = Vec::new();
    for prefix in ["crate::", "iam_key_exporter::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap();
                rooms.extend(group.split(',').map(|item| item.trim().split("::").next().unwrap()));
            } else {
                rooms.push(rest.split(|c| !name(c)).next().unwrap());
            }
        }
    }
    rooms
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    for (file, code) in sources() {
        let room = room(&file);
        let allowed = allowed.get(room).unwrap_or_else(|| panic!("src/{file}.rs is in an unlisted module"));
        for import in imports(&code) {
            assert!(import == room || allowed.contains(&import), "src/{file}.rs imports {import}");
        }
    }
}

#[test]
fn pure_rooms_are_pure() {
    let mut seen = 0;
    for (file, code) in sources() {
        if PURE.iter().any(|p| file == *p || file.starts_with(&format!("{p}/"))) {
            seen += 1;
            for word in IMPURE {
                assert!(!code.contains(word), "src/{file}.rs is pure and contains {word}");
            }
        }
    }
    assert!(seen > 12, "only {seen} pure files were found");
}

#[test]
fn each_foreign_world_has_one_room() {
    for (file, code) in sources() {
        let room = room(&file);
        assert!(
            !code.contains("aws_s") && !code.contains("aws_config") || room == "aws",
            "src/{file}.rs uses the AWS SDK"
        );
        assert!(
            !code.contains("hyper::") && !code.contains("hyper_util::") || room == "http",
            "src/{file}.rs uses hyper"
        );
        assert!(!code.contains("clap") || ["cli", "main"].contains(&room), "src/{file}.rs uses clap");
        assert!(!code.contains("anyhow") || ["app", "main"].contains(&room), "src/{file}.rs uses anyhow");
    }
}

#[test]
fn files_stay_readable() {
    for (file, code) in sources() {
        let lines = code.lines().count();
        assert!(lines <= 420, "src/{file}.rs has {lines} lines without comments and tests");
    }
}
