r"""Everybody else's text, made fit to be shown: what would act on a terminal, or hide, is written out instead.

A name, a notice, a group's value, the ``detail`` of an error, an address: each was written by somebody else. On its way
to a terminal or into a log line it goes through here (``trust.cli.terminal``, ``trust.runtime.json_lines``). Nothing is
lost: a character that is not shown as itself is shown as its escape, ``\x1b`` or ``\u202e``.

What is written out: controls (C0, C1, DEL: so ANSI and OSC sequences, carriage returns and line breaks), every
character of format (category Cf: bidi overrides and isolates, zero-width ones, tags), separators of lines and
paragraphs, lone surrogates, and the few letters and marks that show nothing. Variation selectors stay: Japanese names
need them.
"""

import re
import unicodedata

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""What shows nothing although its category says that it is a letter, a mark or a symbol."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"
_PRINTABLE = re.compile(r"[ -~]*")


def is_hidden(character: str) -> bool:
    """Return whether a character would act or hide instead of being seen."""
    return unicodedata.category(character) in _HIDDEN or character in _INVISIBLE


def visible(text: str, *, lines: bool = False) -> str:
    """Return text as it may be shown on a terminal; with ``lines`` its line breaks stay.

    Text with letters that run from right to left is isolated (Unicode's UAX 9), so that what stands around it keeps its
    place.
    """
    if _PRINTABLE.fullmatch(text):
        return text
    if lines:
        return "\n".join(map(visible, text.split("\n")))
    shown = "".join(_escape(each) if is_hidden(each) else each for each in text)
    if any(unicodedata.bidirectional(each) in _RIGHT_TO_LEFT for each in shown):
        return f"{_FIRST_STRONG_ISOLATE}{shown}{_POP_ISOLATE}"
    return shown


def visible_json(document: str, encoding: str = "utf-8") -> str:
    r"""Return a JSON document that says the very same, and may be shown: what may not is ``\u`` and four digits.

    ``encoding`` is that of where it goes to: what it cannot say is written out as well.
    """
    return "".join(each if each in " \n" or _is_plain(each, encoding) else _json_escape(each) for each in document)


def _is_plain(character: str, encoding: str) -> bool:
    if " " <= character <= "~":
        return True
    if is_hidden(character):
        return False
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(character: str) -> str:
    code = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
