"""All that the command line shows, and the only place from where it does: sentences, tables, progress, JSON.

A sentence is a template of our own, with rich's markup in it, and values that go into its ``{}``. Whatever is a value
is taken for somebody else's text: it is never markup, and what would act on the terminal or hide there is written out
(``trust.runtime.foreign_text``). A cell of a table is such a value. ``tests/house/test_terminal.py`` holds all commands
to it.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Formatter
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trust.runtime.foreign_text import visible, visible_json

console = Console(highlight=False, soft_wrap=False, markup=False, emoji=False)
_errors = Console(highlight=False, soft_wrap=False, markup=False, emoji=False, stderr=True)
_FIRST_MARK = 0xE000
"""Each value's place in a template, while rich reads its markup: a character for private use, which no template has."""
Sentence = Text
"""Words of our own with values in them, as ``sentence`` makes them; a cell of a table may be one."""
LINE = "─"
"""What the lines of a table are made of."""
Value = str | int | float | Path | None


def sentence(template: str, *values: Value) -> Sentence:
    """Return a template of our own (markup) with values in its ``{}``, which are shown just as they are."""
    marked = ""
    shown: list[str] = []
    # the template has no values in it yet while its markup is read: what they say can never be markup
    for words, name, spec, _ in Formatter().parse(template):
        marked += words
        if name is not None:
            marked += chr(_FIRST_MARK + len(shown))
            shown.append(_as_text(values[len(shown)], spec or ""))
    if len(shown) != len(values):
        raise ValueError("A sentence has as many values as places for them.")
    styled = Text.from_markup(marked, emoji=False)
    whole = Text(end="")
    cuts = [cut for at, each in enumerate(styled.plain) if ord(each) >= _FIRST_MARK for cut in (at, at + 1)]
    for part in styled.divide(cuts):
        if len(part) == 1 and 0 <= (place := ord(part.plain) - _FIRST_MARK) < len(shown):
            value = Text(shown[place])
            for span in part.spans:
                value.stylize(span.style)
            whole.append_text(value)
        else:
            whole.append_text(part)
    whole.end = "\n"
    return whole


def _as_text(value: Value, spec: str) -> str:
    return format(value, spec) if isinstance(value, int | float) else visible(str(value))


def question(template: str, *values: Value) -> str:
    """Return a sentence for click to ask."""
    return sentence(template, *values).plain


def say(template: str, *values: Value, whole_line: bool = False, err: bool = False) -> None:
    """Print a sentence; ``whole_line`` leaves it to the terminal to wrap it, so that it can be copied."""
    (_errors if err else console).print(sentence(template, *values), soft_wrap=whole_line)


def say_foreign(text: str, *, bold: bool = False, err: bool = False) -> None:
    """Print somebody else's text of several lines, such as a notice, word by word, wrapped to the terminal's width."""
    (_errors if err else console).print(Text(visible(text, lines=True), style="bold" if bold else ""))


def narrate(template: str, *values: Value) -> None:
    """Print a sentence; what it is indented by holds for all its lines."""
    words = template.lstrip(" ")
    indent = len(template) - len(words)
    for line in sentence(words, *values).wrap(console, console.width - indent):
        line.rstrip()
        console.print(Text(" " * indent) + line)


def headline(template: str, *values: Value) -> None:
    """Print a sentence between rules, over all that follows."""
    console.rule(sentence(template, *values))


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show, at a terminal, that something takes its time."""
    with console.status(Text(what)):
        yield


def say_plain(text: str) -> None:
    """Print one line for programs: a key, a hash, a signature, a signed document of one line."""
    _write(visible(text))


def say_document(document: bytes) -> None:
    """Print a document that is to be signed: byte for byte; only at a terminal, as JSON may be shown there."""
    if sys.stdout is not None and sys.stdout.isatty():
        say_json(document)
    else:
        click.echo(document)


def say_json(document: object, *, err: bool = False) -> None:
    """Print something (or bytes that are JSON already) as JSON: exactly what it says, in any encoding."""
    if isinstance(document, bytes):
        text = document.decode()
    else:  # and not by msgspec, which refuses the lone surrogates of a file's name
        text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False, separators=(",", ":"))
    stream = sys.stderr if err else sys.stdout
    _write(visible_json(text, getattr(stream, "encoding", None) or "utf-8"), err=err)


def _write(line: str, *, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # closed from the beginning: nobody wants it
        stream.write(line + "\n")
        stream.flush()


def show_table(table: "Sheet") -> None:
    """Print a table, with lines that the encoding of what it goes to can say."""
    try:
        LINE.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        table.box = box.ASCII
    console.print(table)


class Sheet(Table):
    """A table whose headings and cells are somebody else's text: shown as they are. A Sentence is our own."""

    def __init__(self, *, show_header: bool = True, collapse_padding: bool = False) -> None:
        super().__init__(
            box=box.SIMPLE_HEAD, pad_edge=False, show_header=show_header, collapse_padding=collapse_padding
        )

    def add_column(self, header: Any = "", *args: Any, **options: Any) -> None:
        """Add a column."""
        super().add_column(Text(visible(header)) if isinstance(header, str) else header, *args, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row."""
        super().add_row(*(Text(visible(each)) if isinstance(each, str) else each for each in cells), **options)


@contextmanager
def progress_bar(
    what: str, *, hidden: bool = False, with_total: bool = True, stays: bool = False, always: bool = False
) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far something has come, at a terminal (``always``: elsewhere too); gives what to call with that."""
    count: ProgressColumn = MofNCompleteColumn() if with_total else TextColumn("{task.completed:,}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(32), count, TimeElapsedColumn())
    disable = hidden or not (always or console.is_terminal)
    with Progress(*columns, console=console, transient=not stays, disable=disable) as progress:
        task = progress.add_task(visible(what), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def nano(nano_rho: int) -> str:
    """Write nano-rho as rho, to the millionth."""
    return f"ρ {rho(nano_rho)}"


def rho(nano_rho: int) -> str:
    """Write nano-rho as a number of rho, to the millionth."""
    return f"{nano_rho / 1e9:.6f}".rstrip("0").rstrip(".")
