"""HDF5 files of others, which may tell the library to read somewhere else."""

from __future__ import annotations

from collections.abc import Iterator

import h5py

_DEEPEST, _MOST = 32, 100_000
"""Groups within groups, and objects, of a file that is looked through; HDF5 needs minutes for 2,000 within another."""


def borrowed(file: h5py.File) -> str | None:
    """Return the name of something that HDF5 would take from another file, whatever that is; None: all is in this.

    Raises `ValueError` where the file has far more groups than data need.
    """
    return next((name for name, node in _nodes(file) if _elsewhere(node)), None)


def own(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a group holds under a name, in this file itself; None where there is nothing of that name."""
    link = group.get(name, getlink=True)
    node = group[name] if isinstance(link, h5py.HardLink) else None
    return None if node is None or _elsewhere(node) else node


def _nodes(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | h5py.ExternalLink]]:
    """Yield what a file holds, each object once; soft links are not followed."""
    open_groups: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    seen = {file.id}
    while open_groups:
        path, group, depth = open_groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield f"{path}{name}", link
            elif isinstance(link, h5py.HardLink) and (node := group[name]).id not in seen:
                seen.add(node.id)
                yield f"{path}{name}", node
                if isinstance(node, h5py.Group):
                    open_groups.append((f"{path}{name}/", node, depth + 1))
            if depth >= _DEEPEST or len(seen) > _MOST:
                raise ValueError(f"it has more than {_DEEPEST} groups within another, or more than {_MOST:,} objects")


def _elsewhere(node: h5py.Group | h5py.Dataset | h5py.ExternalLink) -> bool:
    if isinstance(node, h5py.Dataset):
        return bool(node.external or node.is_virtual)
    return isinstance(node, h5py.ExternalLink)
