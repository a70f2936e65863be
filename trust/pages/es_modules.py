"""The browser's modules put together into one: for ``/static/verify.js``, and for a page that is one file.

They are plain ES modules, which a browser could load one by one. They are joined line by line, without a parser of
JavaScript, so only what is certain to mean the same afterwards is taken: imports and exports by name, and declarations,
each beginning at the left margin. Anything else is refused when the process starts.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_NAMES = r"\{([\s\w,]*)\}"
_FROM = r'from "((?:\./|\.\./)[\w/]+\.js)"'
_IMPORT = re.compile(rf"^import {_NAMES} {_FROM};\n", re.MULTILINE)
_PASSED_ON = re.compile(rf"^export {_NAMES} {_FROM};\n", re.MULTILINE)
_TYPES = re.compile(rf"^/\*\* @import {_NAMES} {_FROM} \*/\n", re.MULTILINE)
_DECLARATION = r"(?:async function|function|class|const) (\w+)"
_EXPORT = re.compile(rf"^export (?={_DECLARATION})", re.MULTILINE)
_DECLARED = re.compile(rf"^(?:{_DECLARATION}|let (\w+))", re.MULTILINE)
_UNKNOWN = re.compile(r"^(?:import|export)\b.*|\bimport\s*(?:\(|\.\s*meta)|^(?:const|let) [\[{]", re.MULTILINE)
_STATEMENT = re.compile(rf"^(?![ \n}}\])]|\Z|//|/\*\*|{_DECLARATION}).*", re.MULTILINE)
_SPACE = re.compile(r"\n{3,}")
_CHECKED = "// @ts-check\n"


@dataclass(frozen=True)
class EsModule:
    """One module: its text without imports and exports, what it takes of which other module, and what it gives."""

    path: Path
    body: str
    imports: dict[Path, frozenset[str]]
    exports: frozenset[str]
    """Its own; ``passed_on`` are those of other modules that it gives as well."""
    passed_on: frozenset[str]
    names: tuple[str, ...]
    """What it declares, exported or not."""


def join_modules(entry: Path) -> str:
    """Return a module and all that it imports as one, which gives what ``entry`` gives; its first comment comes first.

    Only ``entry`` may do anything when it is loaded; the others declare. Raises ValueError for a module of another
    form, an import of what is not exported or in a circle, and where one name is declared twice.
    """
    modules = _gather(entry.resolve())
    *below, last = modules
    declared: set[str] = set()
    for module in modules:
        for name in module.names:
            if name in declared:
                raise ValueError(f"{module.path.name} declares a name that is declared already: {name}")
            declared.add(name)
    for module in below:
        if statement := _STATEMENT.search(module.body):
            raise ValueError(f"{module.path.name} does more than declare: {statement.group()}")
    about, body = _split_comment(last.body)
    given = "".join(f"  {name},\n" for name in sorted(last.exports | last.passed_on))
    parts = [about, *(module.body for module in below), body, f"export {{\n{given}}};\n" if given else ""]
    return _CHECKED + _SPACE.sub("\n\n", "\n".join(part for part in parts if part.strip()))


def _gather(entry: Path) -> list[EsModule]:
    """Return a module after all that it imports, each once."""
    found: dict[Path, EsModule] = {}
    open_: list[Path] = []

    def visit(path: Path) -> None:
        if path in open_:
            raise ValueError(f"{path.name} imports itself through others.")
        if path in found:
            return
        open_.append(path)
        module = _read(path)
        for other, names in module.imports.items():
            visit(other)
            if missing := names - found[other].exports:
                raise ValueError(f"{path.name} imports what {other.name} does not export: {', '.join(sorted(missing))}")
        open_.pop()
        found[path] = module

    visit(entry)
    return list(found.values())


def _read(path: Path) -> EsModule:
    text = path.read_text("utf-8")
    if not text.startswith(_CHECKED):
        raise ValueError(f"{path.name} does not begin with {_CHECKED.strip()}")
    body = text.removeprefix(_CHECKED)
    imports: dict[Path, frozenset[str]] = {}
    passed_on: frozenset[str] = frozenset()
    for form in (_IMPORT, _PASSED_ON):
        for match in form.finditer(body):
            other, taken = (path.parent / match.group(2)).resolve(), _listed(match.group(1))
            imports[other] = imports.get(other, frozenset()) | taken
            passed_on |= taken if form is _PASSED_ON else frozenset()
        body = form.sub("", body)
    body = _TYPES.sub("", body)
    exports = frozenset(_EXPORT.findall(body))
    body = _EXPORT.sub("", body)
    if unknown := _UNKNOWN.search(body):
        raise ValueError(f"{path.name} has a line of an unexpected form: {unknown.group()}")
    names = tuple(match.group(1) or match.group(2) for match in _DECLARED.finditer(body))
    return EsModule(path, body, imports, exports, passed_on, names)


def _listed(names: str) -> frozenset[str]:
    """Return the names of an import or export list; one with ``as`` has an item that is no name and is refused."""
    items = [item.strip() for item in names.split(",")]
    listed = frozenset(item for item in items if item)
    if not listed or any(not item.isidentifier() for item in listed):
        raise ValueError(f"Modules import and export by their own names: {{{names.strip()}}}")
    return listed


def _split_comment(body: str) -> tuple[str, str]:
    """Return the comment that a module begins with, if it is a ``/**`` one, and the rest."""
    if not body.startswith("/**"):
        return "", body
    about, end, rest = body.partition("*/\n")
    return about + end, rest
