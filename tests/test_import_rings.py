"""No module reaches itself through its imports, not even through the `__init__` of its own package.

import-linter (`make lint`) compares siblings; a ring through a parent package escapes it.
"""

from __future__ import annotations

import grimp
import pytest


def rings(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """Return importer and imported of every import that lies on a ring."""
    imports = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    return sorted(pair for pair in imports if graph.chain_exists(importer=pair[1], imported=pair[0]))


def test_no_import_lies_on_a_ring():
    assert not rings(grimp.build_graph("cryoreg", "cryoreg_cli", cache_dir=None))


@pytest.mark.parametrize(("third", "expected"), [("p.b.c", []), ("p", [("p", "p.a"), ("p.a", "p.b"), ("p.b", "p")])])
def test_a_ring_through_the_package_is_found(third, expected):
    graph = grimp.ImportGraph()
    for module in ("p", "p.a", "p.b", "p.b.c"):
        graph.add_module(module)
    graph.add_import(importer="p", imported="p.a")
    graph.add_import(importer="p.a", imported="p.b")
    graph.add_import(importer="p.b", imported=third)
    assert rings(graph) == expected
