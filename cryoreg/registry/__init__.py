"""Names to components: `discovery` finds entry points, `lookup` chooses; nothing is imported before its use."""

from cryoreg.registry.lookup import (
    ALLOW_LIST_VARIABLE,
    GROUPS,
    HOME,
    Component,
    allowed_plugins,
    components,
    find,
    find_spec,
    group_of,
    installed,
    is_allowed,
    plugins,
    problems,
    refresh,
    singular,
    suggestion,
)

__all__ = [
    "ALLOW_LIST_VARIABLE",
    "GROUPS",
    "HOME",
    "Component",
    "allowed_plugins",
    "components",
    "find",
    "find_spec",
    "group_of",
    "installed",
    "is_allowed",
    "plugins",
    "problems",
    "refresh",
    "singular",
    "suggestion",
]
