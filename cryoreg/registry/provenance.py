"""Where an installed package came from, as its installer recorded it (PEP 610)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, NamedTuple, NotRequired, TypedDict
from urllib.parse import unquote, urlsplit, urlunsplit

How = Literal["editable", "folder", "archive", "repository", "index", "unknown"]


class Source(NamedTuple):
    """Where a package came from."""

    how: How
    """editable: used in place; folder, archive, repository: copied from there; index: installed by name."""
    place: str = ""
    """A folder, file or address, without passwords; empty where the installer does not say."""

    def __str__(self) -> str:
        if self.how == "index":
            return "from a package index, by name"
        if self.how == "unknown":
            return "from an unrecorded place"
        return f"{'editable, in' if self.how == 'editable' else f'from the {self.how}'} {self.place}"


class _Repository(TypedDict):
    vcs: str
    commit_id: NotRequired[str]


class _Folder(TypedDict, total=False):
    editable: bool


class _DirectUrl(TypedDict):
    """What direct_url.json records (PEP 610)."""

    url: str
    vcs_info: NotRequired[_Repository]
    archive_info: NotRequired[object]
    dir_info: NotRequired[_Folder]


def source_of(info: str) -> Source:
    """Return where the package of a metadata folder came from."""
    try:
        text = Path(info, "direct_url.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Source("index" if os.path.exists(os.path.join(info, "INSTALLER")) else "unknown")
    try:
        return _parsed(json.loads(text))
    except (ValueError, TypeError, AttributeError, KeyError):
        return Source("unknown")


def _parsed(record: _DirectUrl) -> Source:
    place = _readable(record["url"])
    if "vcs_info" in record:
        vcs = record["vcs_info"]
        return Source("repository", f"{vcs['vcs']}+{place}@{vcs.get('commit_id', '?')}")
    if "archive_info" in record:
        return Source("archive", place)
    return Source("editable" if record.get("dir_info", {}).get("editable") else "folder", place)


def _readable(url: str) -> str:
    """Return a file's path, or an address without user and password."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return unquote(parts.path)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
