"""Reads string literals out of Rust source: log messages and error messages."""

import functools
import re

from harness import ROOT

# Comments and literals. A quote inside one of them does not start another one.
TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | b?r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)
      | b?"(?P<string>(?:\\.|[^"\\])*)"
      | b?'(?:\\.[^']*|[^\\'])'
    """,
    re.VERBOSE | re.DOTALL,
)
LOG_MACRO = re.compile(r"\b(?:trace|debug|info|warn|error)!\s*\(")
ERROR_ATTRIBUTE = re.compile(r"#\[error\(")
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))? )?mod \w+ \{")


def files():
    """Every source file of the program, without files of tests."""
    return [path for path in sorted((ROOT / "src").rglob("*.rs")) if path.name != "tests.rs"]


def unescaped(literal):
    """The text of a string literal: escapes of quotes and line continuations are resolved, others are kept."""
    return re.sub(r"\\\n\s*", "", literal).replace('\\"', '"')


def closing(text, start):
    """The index of the bracket that closes the one before `start`; brackets in literals and comments do not count."""
    depth, position = 1, start
    while depth:
        token = TOKEN.match(text, position)
        if token:
            position = token.end()
            continue
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(text[position], 0)
        position += 1
    return position - 1


def strings(text):
    """Every string literal of a piece of source."""
    for token in TOKEN.finditer(text):
        if (literal := token["string"] if token["string"] is not None else token["raw"]) is not None:
            yield unescaped(literal)


def without_tests(text):
    """The source without its inline test modules."""
    while match := TEST_MODULE.search(text):
        text = text[: match.start()] + text[closing(text, match.end()) + 1 :]
    return text


def within(opening, text):
    """String literals within the brackets that a pattern opens."""
    for match in opening.finditer(text):
        yield from strings(text[match.end() : closing(text, match.end())])


@functools.cache
def literals(*openings):
    """(file, string literal) of the whole program: within these patterns' brackets, or all of them."""
    found = []
    for path in files():
        text = without_tests(path.read_text(encoding="utf-8"))
        selected = (literal for opening in openings for literal in within(opening, text)) if openings else strings(text)
        found += [(str(path.relative_to(ROOT)), literal) for literal in selected]
    return found


def log_messages():
    return literals(LOG_MACRO)


def error_messages():
    return literals(ERROR_ATTRIBUTE)
