//! Generated inputs: files of the corpus, each damaged in a few places. Few random bytes would be an inventory or a report;
//! a sound file with one cell replaced, or without its end, nearly is one.

use crate::properties::{ALL, Property};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use std::fs;
use std::path::Path;

/// Texts that mean something in one of the formats.
const TOKENS: &[&str] = &[
    "",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "é",
    "\u{202e}",
    "\"",
    "'",
    "\\",
    ",",
    ";",
    ":",
    "=",
    "#",
    "*",
    "?",
    "/",
    "<",
    ">",
    "/>",
    "</",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?xml ",
    "&lt;",
    "&x;",
    "<Users/>",
    "{",
    "}",
    "[",
    "]",
    "---",
    "- ",
    "&a ",
    "*a",
    "!!int ",
    "|",
    "~",
    "true",
    "false",
    "TRUE",
    "null",
    "N/A",
    "no_information",
    "not_supported",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "2026-02-30",
    "9999-12-31T23:59:59Z",
    "-009999-01-01T00:00:00Z",
    "2026-01-31T12:00:00+05:30",
    "<root_account>",
    "arn:aws:iam::123456789012:user/",
    "arn:aws-cn:iam::123456789012:root",
    "arn:aws:iam::1:role/x",
    "AKIA",
    "gzip",
    "gzip;q=0",
    "identity",
    ";q=0.5",
    "90d",
    "0s",
    "999999999999d",
    "[redacted]",
];

/// A change of one place.
#[derive(Debug, Clone)]
enum Damage {
    /// Nothing follows this place.
    Cut(Index),
    /// These many bytes are missing.
    Remove(Index, usize),
    /// Something stands here that does not belong there.
    Insert(Index, Vec<u8>),
    /// A part stands at another place, too.
    Copy(Index, usize, Index),
    /// One byte is another one.
    Replace(Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let token = || select(TOKENS).prop_map(|token| token.as_bytes().to_vec());
    prop_oneof![
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        4 => (any::<Index>(), token()).prop_map(|(at, token)| Damage::Insert(at, token)),
        1 => (any::<Index>(), any::<String>()).prop_map(|(at, text)| Damage::Insert(at, text.into_bytes())),
        2 => (any::<Index>(), 1..120_usize, any::<Index>()).prop_map(|(at, length, to)| Damage::Copy(at, length, to)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        // One place more than there are bytes: the end.
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Damage::Cut(at) => bytes.truncate(place(at, bytes)),
            Damage::Remove(at, length) => {
                let begin = place(at, bytes);
                bytes.drain(begin..(begin + length).min(bytes.len()));
            }
            Damage::Insert(at, token) => {
                let begin = place(at, bytes);
                bytes.splice(begin..begin, token.iter().copied());
            }
            Damage::Copy(at, length, to) => {
                let (begin, to) = (place(at, bytes), place(to, bytes));
                let part = bytes[begin..(begin + length).min(bytes.len())].to_vec();
                bytes.splice(to..to, part);
            }
            Damage::Replace(at, byte) => {
                if let Some(last) = bytes.len().checked_sub(1) {
                    bytes[at.index(last + 1)] = *byte;
                }
            }
        }
    }
}

/// A file of a corpus, which is shown as text.
#[derive(Clone)]
struct File(Vec<u8>);

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn corpus(name: &str) -> Vec<File> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The order of a directory is not that of the next machine.
    paths.sort();
    paths.iter().map(|path| File(fs::read(path).unwrap())).collect()
}

fn holds_for_damaged_files(name: &str) {
    let (_, holds): &(&str, Property) = ALL.iter().find(|(known, _)| *known == name).expect("a property");
    let inputs = (select(corpus(name)), proptest::collection::vec(damage(), 0..4));
    let mut runner = TestRunner::default();
    let result = runner.run(&inputs, |(File(mut bytes), damages)| {
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        holds(&bytes);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
}

macro_rules! twins {
    ($($name:ident)+) => { $(
        #[test]
        fn $name() {
            holds_for_damaged_files(stringify!($name));
        }
    )+ };
}

twins! { accept_encoding arn configuration credential_report exposition inventory truncation web_configuration }
