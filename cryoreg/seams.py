"""What an entry point names where a name and one object are enough, without a spec. Imports no torch."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from cryoreg.kinds import Seam

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from cryoreg.contracts import Subtomograms
    from cryoreg.predictions import Predictions


class LoggedRun(NamedTuple):
    """What a logger is told of the run whose figures it gets."""

    folder: Path
    """The run's directory. A logger writes nothing there but in a folder of its own name."""
    config: Mapping[str, Any]
    """The resolved settings, as config.toml has them."""
    first_step: int
    """Steps taken before; where a run goes on, what was logged of later ones is to be replaced."""


class Logger(ABC):
    """Takes a run's figures to where people look at them; one of a run's processes opens it as training begins.

    Addresses and passwords come from the service's own environment variables: settings of a run are passed on.
    A `CryoregError` ends the run. Any other exception after the opening is said, and the run goes on without it.
    """

    @abstractmethod
    def __init__(self, run: LoggedRun) -> None:
        """Open it; raise a `CryoregError` of one line where that cannot be."""

    @abstractmethod
    def steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Take the steps of the last second or so, as columns of steps.csv: step, epoch, loss, lr, grad_norm."""

    @abstractmethod
    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Take an epoch's columns of metrics.csv, NaN where one is not known, and the steps taken until then."""

    def close(self, error: BaseException | None = None) -> None:  # noqa: B027
        """End the log; ``error`` is what ended the run before its last epoch."""


class Writer(ABC):
    """A format of the file that `cryoreg predict` and `cryoreg cluster` write. The class's name counts for nothing."""

    suffix: ClassVar[str]
    """The ending of the file by which the format is known without ``--format``, in lower case: ".star"."""

    @abstractmethod
    def prepare(
        self, output: Path, dataset: Subtomograms, classes: Sequence[str]
    ) -> Callable[[Predictions], str | bytes]:
        """Return what turns predictions for ``dataset`` into the content of the file; it writes no file itself.

        Asked before the network answers: raise a `CryoregError` where the format cannot hold the data or a class.
        """


class Shown(NamedTuple):
    """The N particles of a tomogram, as a viewer is to show them."""

    name: str
    """Of the tomogram, without folder and ending."""
    tomogram: Path
    shape: tuple[int, int, int]
    """Its voxels along z, y and x."""
    voxel_size: float
    """Å."""
    ids: Sequence[str]
    places: Sequence[tuple[float, float, float]]
    """x, y, z in voxels of the tomogram; the middle of the first one is 0."""
    classes: Sequence[str]
    """The name of each one's class, empty where it has none."""
    confidences: Sequence[float | None]
    radii: Sequence[float]
    """Å; the more confident, the larger."""
    colours: Mapping[str, tuple[int, int, int]]
    """Class -> red, green and blue, 0 to 255, in the order of a legend: the same in all tomograms."""


class Viewer(ABC):
    """A program to which `cryoreg open` gives particles in their tomogram. The class's name counts for nothing."""

    programs: ClassVar[Sequence[str]]
    """What the program is called, the usual name first: which is looked for on the PATH."""
    install: ClassVar[str]
    """What to do where there is none, in a few words: "install IMOD (https://...)"."""

    @abstractmethod
    def prepare(self, shown: Shown, folder: Path) -> Sequence[Sequence[str]]:
        """Write files called NAME... into a folder, and return commands that show them, each a list of words.

        The last one starts the viewer by the first of ``programs``; those before it are tools that come with it. Raises
        a `CryoregError` of one line where the viewer cannot show it.
        """


class SubtomogramFiles(Protocol):
    """What a `Format` has begun to write: files that nobody sees under their final name before they are complete."""

    def __enter__(self) -> SubtomogramFiles:
        """Begin to write."""

    def __exit__(self, *error: Any) -> None:
        """End; what was written stays for a call that goes on with it."""

    def missing(self) -> list[int]:
        """Return the rows still to be written, in order."""

    def put(self, row: int, *content: Any) -> None:
        """Write a row: its volume (D, H, W), a noise-free copy or None, further columns, and its weight where kept."""

    def leave_out(self, row: int) -> None:
        """Note that a row cannot be had."""

    def finish(self) -> None:
        """Give what is complete its name."""


class Format(ABC):
    """A format in which `cryoreg convert` and `cryoreg extract` write subtomograms.

    `cryoreg.datasets.conversion.formats.FilesFormat` is one of a file for each, which asks for its bytes alone. The
    class's name counts for nothing.
    """

    folder: ClassVar[bool] = True
    """Whether it is a folder, or else one file."""
    keeps_all: ClassVar[bool] = False
    """Whether noise-free copies and weights of Fourier coefficients are kept, too."""

    @abstractmethod
    def begin(self, path: Path, layout: Any, overwrite: bool) -> SubtomogramFiles:
        """Begin to write to ``path``, or go on where an earlier call was interrupted.

        ``layout`` (`cryoreg.datasets.store.format.StoreLayout`) says all that is known of the set but the volumes.
        Raises a `CryoregError` where the format cannot hold it, or ``path`` is taken and ``overwrite`` not set.
        """


class MakeOptimizer(Protocol):
    """What an entry point of ``cryoreg.optimizers`` names: a function that imports torch when it is called.

    `training.optimizer` names it. Names of timm's optimizers mean those.
    """

    def __call__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> Optimizer:
        """Return the optimizer of groups of parameters, each with its ``weight_decay``; ``step`` gets no closure."""


class RateFactor(Protocol):
    """What an entry point of ``cryoreg.schedules`` names: a function, so that a resumed run needs no state for it.

    `training.schedule` names it. Names of timm's schedules mean those.
    """

    def __call__(self, progress: float) -> float:
        """Return the factor on the learning rate where a share of the steps is done: from 0, after warm-up, below 1."""


class Part(NamedTuple):
    """What a package has for a seam, as the conformance kit checks it."""

    kind: Seam
    name: str
    found: Any
    """The class, function or path that the entry point names."""
    module: str
    """Where it is declared."""


FILES = ("recipe", "study")
"""Seams where an entry point names the path of a TOML file, whose first comment says what it is."""
_BASES: dict[str, type[ABC]] = {"logger": Logger, "writer": Writer, "viewer": Viewer, "format": Format}
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "optimizer": ("groups", "lr", "momentum"),
    "schedule": ("progress",),
    "picker": ("tomogram", "radius", "contrast"),
}
"""Of functions; all are passed by position."""


def misfit(seam: str, found: object) -> str:
    """Return what is wrong with what an entry point of a seam names; empty where nothing is."""
    if seam in FILES:
        return "" if isinstance(found, Path) and found.is_file() else "is not the Path of a file that is there"
    return _no_function(found, _ARGUMENTS[seam]) if seam in _ARGUMENTS else _no_subclass(found, _BASES[seam])


def _no_subclass(found: object, base: type[ABC]) -> str:
    if not (isinstance(found, type) and issubclass(found, base)):
        return f"is not a subclass of {base.__name__}"
    if inspect.isabstract(found):
        return f"does not implement {', '.join(sorted(found.__abstractmethods__))}"
    unsaid = [name for name in inspect.get_annotations(base) if getattr(found, name, None) is None]
    return f"has no {' and no '.join(unsaid)}" if unsaid else ""


def _no_function(found: object, arguments: tuple[str, ...]) -> str:
    if not inspect.isfunction(found):
        return "is not a function"
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError:
        return f"does not take ({', '.join(arguments)})"
    return ""


def documentation(part: object) -> tuple[str, str]:
    """Return the first line of what a part says of itself, and the rest."""
    told = _comment(part) if isinstance(part, Path) else inspect.cleandoc(getattr(part, "__doc__", None) or "")
    first, _, rest = told.replace("``", "`").partition("\n")
    return first, rest.strip()


def _comment(file: Path) -> str:
    """Return the lines of comment with which a file begins."""
    lines = file.read_text("utf-8", "replace").splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
