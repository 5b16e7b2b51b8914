"""The reference pages agree with the specs."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cryoreg import registry
from cryoreg.kinds import KINDS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [f"{registry.group_of(kind)}.md" for kind in KINDS]


def generate(docs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, docs / "generate.py", *arguments], capture_output=True, text=True)


@pytest.fixture
def copied(tmp_path) -> Path:
    for name in ("generate.py", "settings.md", "conformance.md", *PAGES):
        shutil.copy(DOCS / name, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_pages_are_up_to_date():
    result = generate(DOCS, "--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_stale_page_is_named_and_mended_and_prose_is_kept(copied):
    page = copied / "methods.md"
    text = page.read_text("utf-8")
    page.write_text("Prose.\n" + text.replace("### `moco`", "### `moko`"), "utf-8")
    result = generate(copied, "--check")
    assert (result.returncode, result.stderr) == (1, f"{page} is out of date; run `make reference`\n")
    assert generate(copied).returncode == 0
    assert page.read_text("utf-8") == "Prose.\n" + text


@pytest.mark.parametrize("kind", KINDS)
def test_every_builtin_and_its_parameters_are_in_the_page(kind):
    group = registry.group_of(kind)
    _, *sections = (DOCS / f"{group}.md").read_text("utf-8").split("\n### `")
    by_name = {section.partition("`")[0]: section for section in sections}
    builtins = [component for component in registry.components(group) if component.builtin]
    assert sorted(by_name) == sorted(component.name for component in builtins)
    for component in builtins:
        listed = re.findall(r"^\| `(\w+)` \|", by_name[component.name], re.MULTILINE)
        assert listed == list(component.spec().model_fields), component.name


@pytest.mark.parametrize("name", PAGES)
def test_all_rows_of_a_table_have_as_many_cells_as_its_head(name):
    for block in (DOCS / name).read_text("utf-8").split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1, block


def test_a_bar_is_escaped():
    table = runpy.run_path(str(DOCS / "generate.py"))["table"]
    assert table([("type",), ("`v1 | v2`",)]) == "| type |\n| --- |\n| `v1 \\| v2` |"


@pytest.mark.slow
def test_the_generator_imports_nothing_heavy():
    code = f"import runpy, sys; runpy.run_path({str(DOCS / 'generate.py')!r}); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
