"""HDF5 files of others, which may tell the library to read somewhere else."""

from __future__ import annotations

import h5py


def borrowed(file: h5py.File) -> str | None:
    """Return the name of something that HDF5 would take from another file, whatever that is; None: all is in this."""
    link: str | None = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    return link or file.visititems(lambda name, node: name if _elsewhere(node) else None)


def _elsewhere(node: h5py.Group | h5py.Dataset) -> bool:
    return isinstance(node, h5py.Dataset) and bool(node.external or node.is_virtual)
