//! Text from outside in forms that are safe: on a terminal, on one line of a log, as the name of a label.

pub mod redact;

use std::borrow::Cow;

/// `text` with every character escaped that a terminal acts upon instead of showing it: control characters (line feeds,
/// tabs and escape sequences among them), line separators, and the marks that reverse the direction of writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Whether a terminal acts upon this character.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The name of the label for a tag: `tag_` and the tag's key, with ASCII letters in lower case and an underscore for
/// every character that is not an ASCII letter or digit.
pub fn label_name(tag: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("tag_{}", tag.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_label_names() {
        assert_eq!(label_name("Cost-Centre/é"), "tag_cost_centre__");
    }

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        assert!(matches!(printable("Größe: 1, 山\\n"), Cow::Borrowed("Größe: 1, 山\\n")));
        assert_eq!(printable("a\u{1b}[2J\n\t\r\u{9b}1m\u{202e}b"), r"a\u{1b}[2J\n\t\r\u{9b}1m\u{202e}b");
    }
}
