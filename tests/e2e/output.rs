//! What `check` writes, and where: terminals, spreadsheets, devices, and outputs that cannot be written.

use crate::common::{Account, Key, User};
use crate::exporter::{Cli, cli};

fn from_inventory(account: &Account) -> Cli {
    cli(["check", "--input.inventory=inventory.json"]).file("inventory.json", account.inventory().to_string())
}

fn two_keys() -> [Key; 2] {
    [Key::active(50), Key::active(20)]
}

/// A name from a file can hold anything; a terminal must not act upon it.
#[test]
fn control_characters_do_not_reach_the_terminal() {
    let account = Account::new([User::new("eve\u{1b}[2J\u{9b}1m\r\n\u{202e}x", two_keys())]);
    for output in ["table", "json", "csv"] {
        let text = from_inventory(&account)
            .args([&format!("--output={output}"), "--account.name=a\u{1b}]0;b\u{7}c", "--metrics.access-key-id"])
            .run()
            .expect(1)
            .stdout();
        let raw: Vec<char> = text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert_eq!(raw, [], "{output}: {text:?}");
        assert!(text.contains("eve") && text.contains("1b"), "{output}: {text}");
    }
    let json = from_inventory(&account).arg("--output=json").run().expect(1).json();
    assert_eq!(json["users"][0]["name"], "eve\u{1b}[2J\u{9b}1m\r\n\u{202e}x", "a program reads the name itself");
}

#[test]
fn cells_that_begin_like_a_formula_are_text() {
    let names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a=1"];
    let account = Account::new(names.map(|name| User::new(name, two_keys())));
    let text = from_inventory(&account).arg("--output=csv").run().expect(1).stdout();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
    }
    for (name, cell) in
        [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "\\t=1"), ("\r=1", "\\r=1"), ("a=1", "a=1")]
    {
        assert!(rows.iter().any(|r| &r[1] == cell), "{name:?}: {text}");
    }
}

#[test]
fn on_a_narrow_terminal_the_fields_stand_below_each_other() {
    let account = Account::new([User::new("team.lead", two_keys()), User::new("bob", two_keys())]);
    for columns in [20, 40, 80, 99, 100, 120] {
        let text = from_inventory(&account).arg("--color=never").run_on_terminal(columns);
        for line in text.lines().filter(|l| !l.starts_with("Account ")) {
            assert!(line.chars().count() <= columns.into(), "{columns} columns: {line:?}\n{text}");
        }
        let words = ["bob", "team.lead", "violation", "multiple_active_keys"];
        for word in words.iter().filter(|w| w.len() < columns.into()) {
            assert!(text.lines().any(|l| l.contains(word)), "{columns} columns: {word:?} is torn:\n{text}");
        }
        assert_eq!(text.contains("USER: bob"), columns < 100, "{columns} columns:\n{text}");
    }
}
