"""The browser's modules are joined into one only where that certainly changes nothing."""

import re
from pathlib import Path

import pytest

from trust.pages import es_modules
from trust.pages.es_modules import join_modules
from trust.pages.static_files import STATIC_FILES

PAGES = Path(es_modules.__file__).parent
LOWEST = """// @ts-check
/** The lowest. */

export const ZERO = 0;

/** Adds one. */
export function next(number) {
  return number + ONE;
}

const ONE = 1;
"""
MIDDLE = """// @ts-check
/** The middle. */

import { ZERO, next } from "./lowest.js";

/** @import { Thing } from "./lowest.js" */

export const FIRST = next(ZERO);
"""
FRONT = """// @ts-check
/** What others import. */

export { next } from "./lowest.js";
export {
  FIRST,
} from "./middle.js";
"""


def _written(folder: Path, **texts: str) -> Path:
    for name, text in {"lowest": LOWEST, "middle": MIDDLE, "front": FRONT, **texts}.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder / "front.js"


def test_modules_are_joined_with_what_they_import_before_them_and_give_what_the_front_gives(tmp_path: Path) -> None:
    assert join_modules(_written(tmp_path)) == (
        "// @ts-check\n/** What others import. */\n\n/** The lowest. */\n\nconst ZERO = 0;\n\n/** Adds one. */\n"
        "function next(number) {\n  return number + ONE;\n}\n\nconst ONE = 1;\n\n/** The middle. */\n\n"
        "const FIRST = next(ZERO);\n\nexport {\n  FIRST,\n  next,\n};\n"
    )


def test_an_entry_that_runs_comes_last_and_gives_nothing(tmp_path: Path) -> None:
    front = (
        '// @ts-check\n// Runs.\nimport { FIRST } from "./middle.js";\n\nlet shown = FIRST;\ndocument.title = shown;\n'
    )
    joined = join_modules(_written(tmp_path, front=front))
    assert joined.endswith("const FIRST = next(ZERO);\n\n// Runs.\n\nlet shown = FIRST;\ndocument.title = shown;\n")
    assert not re.search(r"^(?:import|export)", joined, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("middle", "export const FIRST", "export let FIRST", "unexpected form: export let"),
        ("middle", "export const FIRST", "export default", "unexpected form: export default"),
        ("middle", "export const FIRST", "export const { FIRST }", "unexpected form: export const"),
        ("middle", "export const FIRST", "const [FIRST]", "unexpected form: const \\["),
        ("middle", 'import { ZERO, next } from "./lowest.js";', 'import "./lowest.js";', "unexpected form: import"),
        ("middle", "import { ZERO, next }", "import * as lowest", "unexpected form: import"),
        ("middle", "./lowest.js", "https://elsewhere.example/lowest.js", "unexpected form: import"),
        ("middle", "{ ZERO, next }", "{ ZERO as NOTHING, next }", "their own names"),
        ("middle", "{ ZERO, next }", "{ }", "their own names"),
        ("middle", "next(ZERO)", 'await import("./lowest.js")', "unexpected form: import"),
        ("middle", "next(ZERO)", "import.meta.url", "unexpected form: import"),
        ("middle", "{ ZERO, next }", "{ ONE, ZERO, next }", "lowest.js does not export: ONE"),
        ("middle", "const FIRST = next(ZERO)", "const FIRST = 1;\nconsole.log(FIRST)", "more than declare: console"),
        ("middle", "const FIRST = next(ZERO)", "const FIRST = 1;\nlet second = 2", "more than declare: let"),
        ("middle", "const FIRST = next(ZERO)", "const FIRST = 1;\nconst ONE = 1", "declared already: ONE"),
        ("lowest", "const ONE = 1", "const ONE = 1;\nfunction next() {}", "declared already: next"),
        ("lowest", "const ONE = 1", 'import { FIRST } from "./middle.js";\nconst ONE = 1', "imports itself"),
        ("lowest", "// @ts-check", "// Not checked", "does not begin with"),
        ("front", "{ next }", "{ last }", "lowest.js does not export: last"),
        ("front", "export { next }", "export *", "unexpected form: export"),
    ],
)
def test_what_could_mean_something_else_afterwards_is_refused(
    tmp_path: Path, name: str, old: str, new: str, sentence: str
) -> None:
    text = {"lowest": LOWEST, "middle": MIDDLE, "front": FRONT}[name]
    assert old in text
    with pytest.raises(ValueError, match=sentence):
        join_modules(_written(tmp_path, **{name: text.replace(old, new, 1)}))


def test_the_devices_modules_import_downward_only_and_each_is_checked_by_types() -> None:
    """Joining them refuses circles; and none of them knows the page above."""
    modules = sorted((PAGES / "device").glob("*.js"))
    assert len(modules) > 5
    for module in modules:
        text = module.read_text("utf-8")
        assert text.startswith("// @ts-check\n")
        assert set(re.findall(r'from "([^"]+)"', text.partition("*/")[2])) <= {f"./{other.name}" for other in modules}


def test_the_one_file_holds_every_module_of_the_device() -> None:
    joined = STATIC_FILES["verify.js"].decode()
    declared = {
        name
        for module in (PAGES / "device").glob("*.js")
        for name in re.findall(
            r"^(?:export )?(?:async function|function|class|const) (\w+)", module.read_text("utf-8"), re.MULTILINE
        )
    }
    assert len(declared) > 80
    assert declared == set(re.findall(r"^(?:async function|function|class|const) (\w+)", joined, re.MULTILINE))
