"""A plugin for tests, installed as pip would install it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryoreg import registry

ENTRY_POINTS = "[cryoreg.encoders]\nfake = {module}:FakeSpec\n"
MODULE = '''"""A plugin that is not there."""

from cryoreg.specs import EncoderSpec


class FakeSpec(EncoderSpec):
    """RB3D under another name.

    For tests.
    """

    min_box = 4

    def build(self):
        """Return the network."""
        from cryoreg.encoders.specs import RB3DSpec

        return RB3DSpec(width=4).build()
'''


def write_plugin(
    folder: Path,
    dist: str = "fake-plugin",
    *,
    version: str = "1.0",
    entry_points: str | bytes | None = None,
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Write a package's ``.dist-info`` (METADATA, entry_points.txt) and its modules into ``folder``; return the former.

    ``modules`` maps names to source text; by default, ``<dist>_specs`` with one encoder, ``fake``, which
    ``entry_points`` then names.
    """
    name = dist.replace("-", "_").replace(".", "_")
    module = f"{name.lower()}_specs"
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n", encoding="utf-8")
    text = ENTRY_POINTS.format(module=module) if entry_points is None else entry_points
    (info / "entry_points.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    for each, source in ({module: MODULE} if modules is None else modules).items():
        (folder / f"{each}.py").write_text(source, encoding="utf-8")
    return info


@contextlib.contextmanager
def fake_plugin(
    folder: Path,
    dist: str = "fake-plugin",
    *,
    version: str = "1.0",
    entry_points: str | bytes | None = None,
    modules: Mapping[str, str] | None = None,
) -> Iterator[Path]:
    """Install a package (see `write_plugin`) in ``folder`` and make it importable while the context lasts.

    Yields its ``.dist-info`` folder. cryoreg's registry sees the package as any other.
    """
    info = write_plugin(folder, dist, version=version, entry_points=entry_points, modules=modules)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    registry.refresh()
    try:
        yield info
    finally:
        sys.path.remove(str(folder))
        registry.refresh()
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
