"""Write a plugin's package from templates: all of it or nothing."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple

import jinja2

from cryoreg import version
from cryoreg.errors import ConfigError, RunFolderError
from cryoreg.kinds import SEAMS
from cryoreg.scaffold import weights
from cryoreg.scaffold.naming import Names, check_free, check_type, group_of, names_of

_TEMPLATES = Path(__file__).parent / "templates"


class Example(NamedTuple):
    """What a kind's example component is."""

    summary: str
    dependencies: tuple[str, ...]
    modules: tuple[str, ...]
    """Files of the package; those without an ending are Python's."""
    tests: tuple[str, ...]
    object: str = "{type}Spec"
    """What the entry point names, in the first module."""


_TORCH = "torch>=2.10"
EXAMPLES = {
    "method": Example(
        "views of one subtomogram close together, subtomograms spread over the sphere",
        (_TORCH,),
        ("specs", "method"),
        ("test_conformance", "test_method"),
    ),
    "encoder": Example(
        "strided convolutions with batch normalisation, and the mean over their last map",
        (_TORCH,),
        ("specs", "encoder"),
        ("test_conformance", "test_encoder"),
    ),
    "augmentation": Example(
        "white Gaussian noise of a random strength",
        (_TORCH,),
        ("specs", "augmentation"),
        ("test_conformance", "test_augmentation"),
    ),
    "dataset": Example(
        "NumPy arrays listed in a table",
        ("numpy>=1.26", _TORCH),
        ("specs", "dataset"),
        ("test_conformance", "test_dataset"),
    ),
    "command": Example(
        "the average of subtomograms",
        ("click>=8.1", "mrcfile>=1.5", "numpy>=1.26"),
        ("command", "average"),
        ("test_command",),
        "main",
    ),
    "learner": Example(
        "cross-entropy, and answers that are sure where there is no label",
        (_TORCH,),
        ("specs", "learner"),
        ("test_conformance", "test_learner"),
    ),
    "query": Example(
        "those whose most probable class is least probable",
        ("numpy>=1.26",),
        ("specs", "query"),
        ("test_conformance", "test_query"),
    ),
    "weights": Example("a trained encoder", (), ("specs",), ("test_conformance",)),
    "logger": Example(
        "an epoch's figures as lines of JSON", (), ("logger",), ("test_conformance", "test_logger"), "{type}Logger"
    ),
    "writer": Example(
        "a table of predictions with tabs between its columns",
        ("numpy>=1.26",),
        ("writer",),
        ("test_conformance", "test_writer"),
        "{type}Writer",
    ),
    "viewer": Example(
        "particles as a table in a spreadsheet", (), ("viewer",), ("test_conformance", "test_viewer"), "{type}Viewer"
    ),
    "format": Example(
        "subtomograms as NumPy arrays",
        ("numpy>=1.26",),
        ("format",),
        ("test_conformance", "test_format"),
        "{type}Format",
    ),
    "picker": Example(
        "voxels that stand out", ("numpy>=1.26",), ("picker",), ("test_conformance", "test_picker"), "pick"
    ),
    "optimizer": Example(
        "signs of gradients, with momentum",
        (_TORCH,),
        ("optimizer", "signum"),
        ("test_conformance", "test_optimizer"),
        "make",
    ),
    "schedule": Example(
        "the full rate, then a straight line down", (), ("schedule",), ("test_conformance", "test_schedule"), "factor"
    ),
    "recipe": Example(
        "settings for pretraining and fine-tuning", (), ("recipe", "recipe.toml"), ("test_conformance",), "RECIPE"
    ),
    "study": Example(
        "a comparison of two starts", (), ("study", "study.toml"), ("test_conformance", "test_study"), "STUDY"
    ),
}
_OF_WEIGHTS: dict[str, object] = {"summary": "A trained encoder.", "facts": {}}


def create_plugin(
    name: str,
    kind: str,
    folder: Path,
    license: str = "Apache-2.0",
    author: str | None = None,
    run: Path | None = None,
) -> Path:
    """Write the package of a new plugin into ``folder`` and return its path, ``folder/cryoreg-NAME``.

    Weights are those of a ``run``. Raises `ConfigError` where the name is unfit or taken, `RunFolderError` where the
    folder cannot be written, `CheckpointError` where the run's encoder cannot be published.
    """
    if (kind == "weights") != (run is not None):
        raise ConfigError("--kind weights and --run belong together: the run whose encoder is published")
    names = names_of(name, kind)
    target = folder / names.package
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder; create it, or choose another --dir")
    check_free(names, kind, target)
    check_type(names.type, used_names(kind))
    values = {"author": author or f"The {names.package} developers", "license": license}
    if run is None:
        _write_all(target, render(names, kind, values))
    else:
        told = weights.told_of(run)
        file = f"src/{names.module}/{names.component}.safetensors"
        _write_all(target, render(names, kind, values | told), lambda package: weights.export(run, package / file))
    return target


def render(names: Names, kind: str, values: Mapping[str, object]) -> dict[str, str]:
    """Return the content of each file of the package, by its path in it."""
    example = EXAMPLES[kind]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    this = ".".join(version.__version__.split(".")[:2])
    shared = {"kind": kind, "group": group_of(kind), "example": example, **names._asdict(), **_OF_WEIGHTS}
    shared |= {
        "object": example.object.format(type=names.type),
        "today": date.today(),
        "cryoreg_version": this,
        **values,
    }
    return {
        path: environment.get_template(template).render(shared)
        for path, template in _files(names, kind, str(values["license"])).items()
    }


def used_names(kind: str) -> set[str]:
    """Return every name that the written code of a kind uses or imports, those of the component itself left out."""
    contents = render(names_of("placeholder", kind), kind, {"author": "", "license": "MIT"})
    used = {name for path, text in contents.items() if path.endswith(".py") for name in _names_in(text)}
    return {name for name in used if not name.startswith("Placeholder")}


def _names_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name


def _files(names: Names, kind: str, license: str) -> dict[str, str]:
    """Return path -> template."""
    source, example = f"src/{names.module}", EXAMPLES[kind]
    common = {
        ".github/workflows/ci.yml": "ci.yml",
        ".gitignore": "gitignore",
        "CHANGELOG.md": "CHANGELOG.md",
        "LICENSE": f"LICENSE-{license}",
        "README.md": "README.md",
        "pyproject.toml": "pyproject.toml",
        f"{source}/__init__.py": "__init__.py",
        f"{source}/py.typed": "py.typed",
    }
    files = [module if "." in module else f"{module}.py" for module in example.modules]
    own = {f"{source}/{file}": f"{kind}/{file}" for file in files}
    own |= {f"tests/{test}.py": f"{kind}/{test}.py" for test in example.tests}
    if kind in SEAMS:
        own["tests/test_conformance.py"] = "common/test_part.py"
    named = {path: f"common/{template}" for path, template in common.items()} | own
    return {path: f"{template}.j2" for path, template in named.items()}


def _write_all(target: Path, contents: Mapping[str, str], add: Callable[[Path], object] = lambda package: None) -> None:
    """Write the files into a temporary folder beside ``target``, and what ``add`` writes there; then rename it."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
            package = Path(temporary) / target.name
            for path, text in contents.items():
                file = package / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            add(package)
            package.rename(target)
    except OSError as error:
        raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
