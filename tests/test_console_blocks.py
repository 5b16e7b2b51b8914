"""The runner of console blocks, and what it can say of every page without running it: commands and options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from support.console_blocks import VARIES, Command, SavedFile, check, first_missing, run_page, steps_of

from cryoreg_cli.main import cryoreg

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PAGE = f"""# Page

```python title="hello.py"
print("hello", 1 + 1)
```

```console
$ python hello.py
hello ...
$ printf 'a\\nb\\nc\\n' | \\
    cat > abc.txt
```

{VARIES}
```console
$ cat abc.txt
z
```

```sh
exit 1
```
"""


def test_files_and_commands_are_found_in_order():
    steps = steps_of(PAGE)
    assert steps[0] == SavedFile("hello.py", 'print("hello", 1 + 1)\n')
    assert steps[1] == Command("page", 8, "python hello.py", ["hello ..."], True)
    assert steps[2] == Command("page", 10, "printf 'a\\nb\\nc\\n' | \\\n    cat > abc.txt", [], True)
    assert steps[3] == Command("page", 16, "cat abc.txt", ["z"], False)
    assert len(steps) == 4


def test_a_page_is_run(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    run_page(tmp_path / "page.md", tmp_path)
    assert (tmp_path / "abc.txt").read_text() == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("text", "shown", "message"),
    [
        ("exit 3", [], "page:7: $ exit 3\nexit status 3"),
        ("echo a", ["b"], "does not print (in this place): b"),
        ("printf 'a\nb\n'", ["b", "a"], "does not print (in this place): a"),
        ("cat missing >&2", [], "No such file"),
    ],
)
def test_what_a_page_promises_in_vain_is_told(tmp_path, text, shown, message):
    with pytest.raises(AssertionError) as caught:
        check(Command("page", 7, text, shown, True), tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        (["a  b"], "x\n a b \n", None),
        (["a ... d"], "a b c d", None),
        (["a ... d"], "a d", None),
        (["a", "...", "c"], "a\nc", None),
        (["a.c"], "abc", "a.c"),
        (["ab"], "abc", "ab"),
        (["a", "a"], "a\nb", "a"),
    ],
)
def test_shown_lines_are_compared(shown, printed, missing):
    assert first_missing(shown, printed) == missing


def used(page: Path) -> list[tuple[tuple[str, ...], str]]:
    """Return the words of each call of cryoreg that a page shows, with each of its options; "" where it has none."""
    texts = [step.text for step in steps_of(page.read_text("utf-8")) if isinstance(step, Command)]
    found = []
    for text in texts:
        words = shlex.split(text, comments=True)
        if words[:1] == ["cryoreg"] and len(words) > 1 and not words[1].startswith("-"):
            options = [word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
            found += [(tuple(words[1:]), option) for option in options or [""]]
    return sorted(set(found))


def command_of(words: Sequence[str]) -> click.Command:
    """Return the command that words call, which may be one of a group's."""
    command: click.Command = cryoreg
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        assert found is not None, word
        command = found
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_on_a_page_is_real(page):
    for words, option in used(page):
        parameters = command_of(words).params
        names = {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert option in names | {"", "--help", "-h"}, f"{page.name}: cryoreg {' '.join(words)}: no {option}"
