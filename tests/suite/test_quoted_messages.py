"""Log messages that the documentation quotes exist in the source."""

import re
import subprocess

import rustsource
from harness import ROOT

# Convention: a page quotes a log message as inline code directly after the words "log message". `...` in the quote stands for
# a value, which is `{...}` in the source.
QUOTE = re.compile(r"\blog\s+message\s+`([^`]+)`")


def pages():
    listed = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "docs/*.md", "README.md"], cwd=ROOT, text=True)
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def shape(message):
    """A message with its values replaced, so that a quote and a format string compare equal."""
    return re.sub(r"\"\.\.\.\"|\.\.\.|\{[^}]*\}", "\0", " ".join(message.split()))


def test_quoted_log_messages_exist():
    messages = {shape(literal) for _, literal in rustsource.log_messages()}
    quotes = [(name, quote) for name in pages() for quote in QUOTE.findall((ROOT / name).read_text(encoding="utf-8"))]
    assert {name for name, _ in quotes} >= {"docs/runbooks/IamKeyExemptionUnmatched.md"}
    assert [(name, quote) for name, quote in quotes if shape(quote) not in messages] == []


def test_source_is_read_as_rust_reads_it():
    source = """
        // "comment" { (
        tracing::warn!(%error, what = "a)b", "first {name} \\"quoted\\""); /* "no" */ let c = '"'; let d = b'\\'';
        info!("second \\
            line"); let raw = r#"raw "text""#;
        #[error("cannot read {0}")] struct E;
        #[cfg(test)]
        mod tests { fn f() { error!("not this } one"); } }
        fn g<'a>(x: &'a str) { debug!("third") }
    """
    text = rustsource.without_tests(source)
    assert list(rustsource.within(rustsource.LOG_MACRO, text)) == ["a)b", 'first {name} "quoted"', "second line", "third"]
    assert list(rustsource.within(rustsource.ERROR_ATTRIBUTE, text)) == ["cannot read {0}"]
    assert 'raw "text"' in list(rustsource.strings(text))
    assert shape('the exemption of "..." matches') == shape("the exemption of {:?} matches")
