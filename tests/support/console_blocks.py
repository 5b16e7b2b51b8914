"""Run the console blocks of a documentation page, as a reader would who types them into a shell.

A fenced block that is called ``console`` holds commands, ``$ ...`` (a backslash at the end of a line continues it), and
lines that they print. Each shown line must be printed, in this order; ``...`` stands for anything. A block below
``<!-- output varies -->`` is run, but its lines are not compared. A fenced block with ``title="name"`` is a file that
the reader saves.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from support.programs import Program

VARIES = "<!-- output varies -->"
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_A_SHELL = re.compile(r"[|&;<>$*?`~!{}#]")
"""What means more to a shell than to `shlex.split`, wherever it stands."""
_TITLE = re.compile(r'title="([^"]+)"')


class Command(NamedTuple):
    """What is typed, and what is shown below it."""

    page: str
    line: int
    """Of the page, counted from 1."""
    text: str
    shown: list[str]
    compared: bool


class SavedFile(NamedTuple):
    """A file whose text the page gives."""

    name: str
    text: str


def steps_of(text: str, page: str = "page") -> list[Command | SavedFile]:
    """Return the commands and files of a page, in the order in which a reader meets them."""
    steps: list[Command | SavedFile] = []
    for fence in _FENCE.finditer(text):
        info, title = fence["info"].strip(), _TITLE.search(fence["info"])
        if title:
            steps.append(SavedFile(title[1], fence["text"]))
        elif info == "console":
            first = text.count("\n", 0, fence.start("text")) + 1
            compared = not text[: fence.start()].rstrip().endswith(VARIES)
            steps += _commands(fence["text"].splitlines(), page, first, compared)
    return steps


def _commands(lines: Sequence[str], page: str, first: int, compared: bool) -> Iterator[Command]:
    numbered = enumerate(lines, first)
    command: Command | None = None
    for number, line in numbered:
        if line.startswith("$ "):
            if command:
                yield command
            text = line.removeprefix("$ ")
            while text.endswith("\\"):
                text += "\n" + next(numbered)[1]
            command = Command(page, number, text, [], compared)
        elif line.strip():
            assert command is not None, f"{page}:{number}: a console block begins with a command"
            command.shown.append(line)
    if command:
        yield command


PROGRAMS = Path(sys.executable).parent


def run_page(page: Path, folder: Path, timeout: float = 300, programs: Path = PROGRAMS) -> None:
    """Save the page's files in ``folder`` and run its commands there; a failure names page and line.

    Commands are first looked for in the folder ``programs``.
    """
    for step in steps_of(page.read_text("utf-8"), page.name):
        if isinstance(step, SavedFile):
            (folder / step.name).write_text(step.text, "utf-8")
        else:
            check(step, folder, timeout, programs)


def check(command: Command, folder: Path, timeout: float = 300, programs: Path = PROGRAMS) -> None:
    """Run a command in ``folder``; assert that it succeeds and prints what the page shows."""
    result = _run(command.text, folder, timeout, programs)
    where = f"{command.page}:{command.line}: $ {command.text}\n"
    assert result.returncode == 0, f"{where}exit status {result.returncode}\n{result.stdout}"
    missing = first_missing(command.shown, result.stdout) if command.compared else None
    assert missing is None, f"{where}does not print (in this place): {missing}\nbut:\n{result.stdout}"


def _run(text: str, folder: Path, timeout: float, programs: Path) -> subprocess.CompletedProcess[str]:
    environment = _environment(folder, programs)
    program, *arguments = shlex.split(text.replace("\\\n", " "))  # which a shell leaves out
    if program == "cryoreg" and programs == PROGRAMS and not _FOR_A_SHELL.search(text):
        return Program(*arguments, environment=environment, folder=folder, one_stream=True).finish(timeout)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    return subprocess.run(["bash", "-c", text], cwd=folder, env=environment, timeout=timeout, check=False, **streams)


def first_missing(shown: Sequence[str], printed: str) -> str | None:
    """Return the first shown line that is not among the printed ones after those before it; None: all are."""
    rest = iter(printed.splitlines())
    told = (line for line in shown if line.strip() != "...")
    return next((line for line in told if not any(_matches(line, other) for other in rest)), None)


def _matches(shown: str, printed: str) -> bool:
    words = (r"\s+".join(map(re.escape, part.split())) for part in shown.split("..."))
    pattern = r"\s*.*\s*".join(words)
    return re.fullmatch(rf"\s*{pattern}\s*", printed) is not None


def _environment(folder: Path, programs: Path) -> dict[str, str]:
    """Return this environment's programs, a wide terminal, one thread, no GPU, and a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CRYOREG")}
    search = os.pathsep.join([str(programs), kept.get("PATH", "")])
    cache = str(folder / ".cache")
    own = {"COLUMNS": "100", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "XDG_CACHE_HOME": cache}
    return kept | own | {"PATH": search, "PYTHONUTF8": "1"}
