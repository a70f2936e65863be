"""Run the demo and draw what it printed as ``demo.svg``: ``python docs/pictures/draw_demo.py``.

The picture is the terminal's own output. Where lines are left out to keep it short, it says how many. It brings no font
and loads nothing: the reader's own monospace font is used.
"""

# ruff: noqa: INP001 - a script beside its picture

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

WIDTH = 100
LEFT_OUT = (r"^± holds for all numbers", r"^  … and \d+ more questions")
"""What follows the second answer looks like what follows the first: up to the line that ends the questions."""
THEME = TerminalTheme(
    (23, 24, 27),
    (241, 236, 226),
    [
        (67, 70, 77),
        (255, 157, 151),
        (150, 220, 181),
        (240, 205, 131),
        (165, 204, 247),
        (214, 178, 240),
        (146, 215, 222),
        (241, 236, 226),
    ],
)
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-label="What the demo printed, step by step">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px "DejaVu Sans Mono", "Noto Sans Mono CJK JP", Menlo, \
Consolas, ui-monospace, monospace; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect width="100%" height="100%" rx="12" fill="#17181b"/>
<g transform="translate(9, 12)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def run_demo() -> list[str]:
    """Run the demo in colour without moving bars; return its lines. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "0"}
    environment["TERM"] = "xterm-256color"
    command = [sys.executable, "-m", "trust.cli", "demo", "--stay", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()


def draw(lines: list[str]) -> str:
    """Return the picture of a terminal with these lines (ANSI colours)."""
    plain = [Text.from_ansi(line).plain for line in lines]
    begins, ends = LEFT_OUT
    last = next(n for n, line in enumerate(plain) if re.search(ends, line))
    first = max(n for n, line in enumerate(plain[:last]) if re.search(begins, line))
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines[:first]:
        console.print(Text.from_ansi(line))
    console.print(Text(f"  ⋯ {last - first} lines left out in this picture", style="dim"))
    for line in lines[last:]:
        console.print(Text.from_ansi(line))
    svg = console.export_svg(theme=THEME, code_format=PICTURE, unique_id="demo", font_aspect_ratio=0.61)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("demo.svg").write_text(draw(run_demo()), "utf-8")
