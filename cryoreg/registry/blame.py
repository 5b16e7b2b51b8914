"""Whose code raised what nobody expected."""

from __future__ import annotations

from traceback import format_exception, walk_tb

from cryoreg.errors import BrokenComponentError, CryoregError, is_out_of_memory, message_of
from cryoreg.registry import discovery, lookup


def blamed(error: BaseException, carried: bool = False) -> BrokenComponentError | None:
    """Return the error that says which package's code raised, and where; None where it was cryoreg's, or nobody's.

    Of the calls that led there, the innermost that is of cryoreg or of a package decides: what torch refuses is the
    fault of whoever asked it. What is meant for the user, and what the system refuses, is nobody's. One that is to be
    ``carried`` to another process, which leaves its traceback behind, has that as a note.
    """
    if isinstance(error, (CryoregError, OSError)) or is_out_of_memory(error):
        return None
    owners = _owners()
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        module = frame.f_globals.get("__name__", "")
        top = module.partition(".")[0]
        if top in discovery.OWN_MODULES:
            return None
        if owner := owners.get(module) or owners.get(top):
            code = frame.f_code
            found = BrokenComponentError(
                f"{owner.dist} {owner.version} fails with {type(error).__name__}: {message_of(error)} "
                f"(in {code.co_name}, {code.co_filename} line {line}); update or uninstall {owner.dist}"
            )
            if carried:
                found.add_note("".join(format_exception(error)))
            return found
    return None


def _owners() -> dict[str, discovery.Candidate]:
    """Return whose a module is, by its name or that of the outermost package: of those that one package alone names.

    An entry point may name another distribution's code, as "torch.optim:SGD", which is not its package's.
    """
    claims: dict[str, dict[str, discovery.Candidate]] = {}
    for dist, candidates in lookup.plugins().items():
        for candidate in candidates:
            module = candidate.target.partition(":")[0]
            for name in (module, module.partition(".")[0]):
                claims.setdefault(name, {})[dist] = candidate
    others = {distribution.name for distribution in discovery.distributions()}
    return {
        name: next(iter(owners.values()))
        for name, owners in claims.items()
        if len(owners) == 1 and discovery.canonical_name(name.partition(".")[0]) not in others - {*owners}
    }
