"""Whose code raised what nobody expected."""

from __future__ import annotations

from traceback import walk_tb

from cryoreg.errors import BrokenComponentError, message_of
from cryoreg.registry import discovery, lookup


def blamed(error: BaseException) -> BrokenComponentError | None:
    """Return the error that says which package's code raised, and where; None where it was cryoreg's, or nobody's.

    Of the calls that led there, the innermost that is of cryoreg or of a package decides: what torch refuses is the
    fault of whoever asked it.
    """
    packages = _packages()
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in discovery.OWN_MODULES:
            return None
        owner = next((packages[part] for part in _parts(module) if part in packages), None)
        if owner is not None:
            code = frame.f_code
            return BrokenComponentError(
                f"{owner.dist} {owner.version} fails with {type(error).__name__}: {message_of(error)} "
                f"(in {code.co_name}, {code.co_filename} line {line}); update or uninstall {owner.dist}"
            )
    return None


def _packages() -> dict[str, discovery.Candidate]:
    """Return the modules and packages that hold components of others: "their.specs:Spec" -> "their"."""
    found = {}
    for candidates in lookup.plugins().values():
        for candidate in candidates:
            module = candidate.target.partition(":")[0]
            found[module.rpartition(".")[0] or module] = candidate
    return found


def _parts(module: str) -> list[str]:
    """Return a module and what it is part of, the innermost first: "a.b" -> ["a.b", "a"]."""
    names = module.split(".")
    return [".".join(names[:count]) for count in range(len(names), 0, -1)]
