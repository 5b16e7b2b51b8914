"""What an entry point of a seam promises, beside being what the seam takes; `cryoreg.seams` says that."""

from __future__ import annotations

import math
import re
from typing import Any

from cryoreg.config import TASKS, resolve
from cryoreg.errors import CryoregError
from cryoreg.seams import Part, documentation
from cryoreg.testing.checks import NotApplicable, require
from cryoreg.testing.spec_checks import heavy_imports


def check_part_imports_light(part: Part) -> None:
    """Importing the module imports none of torch, numpy, monai, timm, lightly and their like."""
    heavy = heavy_imports(part.module)
    require(not heavy, f"importing {part.module} imports {', '.join(heavy)}; do so where they are used")


def check_part_has_a_summary(part: Part) -> None:
    """The docstring, or the comment with which a file begins, says in its first line what the part is."""
    require(bool(documentation(part.found)[0]), f"{part.name} does not say what it is; begin with a line of summary")


def check_writer_has_a_suffix(part: Part) -> None:
    """A writer's ``suffix`` is the ending of a file, in lower case."""
    suffix = getattr(_of(part, "writer"), "suffix", None)
    ending = isinstance(suffix, str) and re.fullmatch(r"\.[a-z0-9]+", suffix)
    require(bool(ending), f"the suffix is {suffix!r}; make it the ending of a file: '.star'")


def check_format_makes_bytes(part: Part) -> None:
    """A format of files says how their names end, and makes bytes of a volume, which it leaves as it is."""
    import numpy as np

    from cryoreg.datasets.conversion.formats import FilesFormat

    form = _of(part, "format")()
    if not isinstance(form, FilesFormat):
        raise NotApplicable("is no FilesFormat, which alone is asked for a file's content")
    suffix = getattr(form, "suffix", None)
    named = isinstance(suffix, str) and re.fullmatch(r"\.[A-Za-z0-9.]+", suffix)
    require(bool(named), f"the suffix is {suffix!r}; make it the ending of a file: '.npy'")
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    before = volume.copy()
    first, second = form.content(volume, 10.0), form.content(volume, None)
    require(isinstance(first, bytes) and bool(first), f"content returns {type(first).__name__}; make it bytes")
    require(isinstance(second, bytes) and bool(second), "content returns nothing where no voxel size is known")
    require(np.array_equal(volume, before), "content changes the volume; copy it first")


def check_viewer_names_its_program(part: Part) -> None:
    """A viewer says what its program is called, and what to do where there is none."""
    viewer = _of(part, "viewer")
    programs = getattr(viewer, "programs", None)
    named = isinstance(programs, tuple | list) and programs and all(isinstance(name, str) and name for name in programs)
    require(bool(named), f"programs is {programs!r}; make it names on the PATH: ('3dmod',)")
    install = getattr(viewer, "install", None)
    require(
        isinstance(install, str) and bool(install), f"install is {install!r}; say what to install where there is none"
    )


def check_recipe_resolves(part: Part) -> None:
    """A recipe's tables are tasks, and name sections, components and settings that there are."""
    from cryoreg.config import Layer, read_toml
    from cryoreg.config.recipes import FROM_WEIGHTS

    tables = read_toml(_of(part, "recipe")).values
    known = {name: task for task in TASKS for name in (task, f"{task}{FROM_WEIGHTS}")}
    require(bool(tables) and set(tables) <= set(known), f"tables are {', '.join(tables)}; make them {', '.join(TASKS)}")
    for name, table in tables.items():
        try:
            resolve(known[name], [Layer("recipe", table)])  # type: ignore[arg-type]  # checked there
        except CryoregError as error:
            require(False, f"[{name}] cannot be used: {error}; mend it")


def check_optimizer_moves_and_goes_on(part: Part) -> None:
    """An optimizer lowers a square, and one that loads another's ``state_dict`` takes the same step, to the bit."""
    import torch

    make = _of(part, "optimizer")

    def made(weight: torch.nn.Parameter) -> Any:
        optimizer = make([{"params": [weight], "weight_decay": 0.0}], 0.01, 0.9)
        require(isinstance(optimizer, torch.optim.Optimizer), f"it returns a {type(optimizer).__name__}, no Optimizer")
        return optimizer

    def step(weight: torch.nn.Parameter, optimizer: Any) -> None:
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()

    weight = torch.nn.Parameter(torch.linspace(1.0, 2.0, 6))
    optimizer, before = made(weight), weight.square().sum().item()
    for _ in range(3):
        step(weight, optimizer)
    require(weight.square().sum().item() < before, "three steps on the sum of squares do not lower it")
    copy = torch.nn.Parameter(weight.detach().clone())
    resumed = made(copy)
    resumed.load_state_dict(optimizer.state_dict())
    step(weight, optimizer)
    step(copy, resumed)
    require(torch.equal(weight, copy), "a resumed one steps otherwise; keep all that it needs in `state`")


def check_schedule_is_a_factor(part: Part) -> None:
    """A schedule gives a finite factor that is not negative, the same whenever it is asked."""
    factor = _of(part, "schedule")
    for progress in (0.0, 0.25, 0.5, 0.999):
        found = factor(progress)
        require(math.isfinite(found) and found >= 0, f"at {progress} the factor is {found}; make it 0 or more")
        require(factor(progress) == found, f"at {progress} the factor differs when asked again; it may have no state")


def _of(part: Part, seam: str) -> Any:
    if part.kind != seam:
        raise NotApplicable(f"it is no {seam}")
    return part.found
