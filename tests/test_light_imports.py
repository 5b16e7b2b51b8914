"""What must be instant imports nothing heavy. Asserted on ``sys.modules``, not on a clock."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cryoreg
import cryoreg_cli

HEAVY = {"torch", "numpy", "monai", "timm", "lightly", "scipy", "sklearn", "lightning_fabric", "mrcfile", "torchvision"}

REPORT = """
import sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write("LOADED " + " ".join(sys.modules))
"""

CLI = "from cryoreg_cli.main import main; sys.argv = ['cryoreg', *{arguments!r}]; main()"


def loaded_by(code: str) -> set[str]:
    """Return the modules in memory after running a line of code in a new process."""
    result = subprocess.run(
        [sys.executable, "-c", REPORT.format(code=code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.rpartition("LOADED ")[2].split())


COMMAND_LINES = [
    ("--help",),
    ("--version",),
    ("list",),
    ("list", "--verbose"),
    ("list", "--json"),
    ("list", "--kind", "dataset"),
    ("list", "--kind", "weights"),
    ("list", "--kind", "learner"),
    ("list", "--kind", "logger"),
    ("list", "--kind", "query"),
    ("list", "--kind", "study"),
    ("list", "--kind", "picker"),
    ("list", "--help"),
    ("show", "method", "moco"),
    ("show", "encoder", "rb3d", "--json"),
    ("show", "weights", "rb3d_universe"),
    ("show", "writer", "star"),
    ("show", "--help"),
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=" ".join)
def test_instant_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    modules = loaded_by(CLI.format(arguments=list(arguments)))
    assert "cryoreg.registry" in modules
    assert not HEAVY & modules


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("show", "--help")], ids=" ".join)
def test_help_does_not_even_import_pydantic(arguments: tuple[str, ...]) -> None:
    assert "pydantic" not in loaded_by(CLI.format(arguments=list(arguments)))


def test_importing_the_package_imports_nothing_else() -> None:
    modules = loaded_by("import cryoreg")
    assert not (HEAVY | {"pydantic", "click", "entrypoints"}) & modules
    assert {m for m in modules if m.startswith("cryoreg")} == {"cryoreg", "cryoreg.version"}


@pytest.mark.parametrize("code", ["cryoreg.list_encoders(pretrained=True)", "cryoreg.list_methods()"])
def test_names_from_python_import_nothing_heavy(code: str) -> None:
    assert not HEAVY & loaded_by(f"import cryoreg; {code}")


def test_the_check_itself_can_fail() -> None:
    assert "numpy" in loaded_by("import numpy")


@pytest.mark.slow
def test_only_discovery_imports_entrypoints() -> None:
    sources = [p for package in (cryoreg, cryoreg_cli) for p in Path(package.__file__).parent.rglob("*.py")]
    assert [p.name for p in sources if "entrypoints" in _imports(p)] == ["discovery.py"]


def _imports(source: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
    plain = {alias.name.split(".")[0] for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return plain | {(n.module or "").split(".")[0] for n in nodes if isinstance(n, ast.ImportFrom)}


@pytest.mark.slow
def test_training_does_without_torchmetrics_which_is_not_hidden_from_others() -> None:
    """Nor with what only some runs need, and of these only one process: probes and TensorBoard."""
    code = (
        "import sys, cryoreg.training.finetune, cryoreg.training.pretrain\n"
        "assert not {'torchmetrics', 'sklearn', 'scipy', 'pandas', 'tensorboard'} & set(sys.modules)\n"
        "import torchmetrics, lightning_fabric.utilities.imports as fabrics\n"
        "assert torchmetrics.MeanMetric and fabrics._TORCHMETRICS_GREATER_EQUAL_1_0_0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
