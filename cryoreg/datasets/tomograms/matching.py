"""Which file is meant by which name of a tomogram: one rule, over all names and files together.

A name claims a file, from the best claim to the weakest, where the file

1. has exactly that name;
2. has that name without endings (`ENDINGS`): ``TS_01.tomostar`` and ``TS_01.mrc``;
3. has that name once what programs add is taken off both (`_WORDS`): ``rec_TS_01_bin4_SIRT.mrc``. Binning and pixel
   size are taken off the file alone: coordinates in a ``TS_01_bin8`` are no places in a ``TS_01_bin4``;
4. does so as a half of the data (`_HALVES`): ``TS_01_EVN_Vol.mrc``, which is meant where the whole is not there;
5. has that name as whole words, other words around it, but no number behind it, which would be part of another name:
   ``TS_01`` in ``grid2_TS_01_lamella.mrc``, never in ``TS_01_2.mrc``.

Masks, labels and scores are files of their own, which no other name claims.

A number, as Dynamo names tomograms, claims files in whose names it is the only number, but for binnings, pixel sizes
and whatever else has digits and counts no tomograms: ``v2``, ``iter10``, ``300kV``. The better claim to a file excludes
others; nobody else's file is lent to a name without one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cryoreg.datasets.tomograms.kinds import ENDINGS as _TOMOGRAMS
from cryoreg.datasets.tomograms.kinds import STACKS

ENDINGS = (".ome.zarr", ".tomostar", ".gz", ".bz2", ".em", ".hdf", ".mdoc", ".xml", *STACKS, *_TOMOGRAMS)
"""Ends of names that tell a format."""
_SIZES = (
    r"\d+(?:\.\d+)?a(?:px|pix|ngpix)",  # Warp: 10.00Apx
    r"(?:apix|angpix|apx)_?\d+(?:\.\d+)?",
    r"\d+\.\d+a?",
    r"bin(?:ned)?_?\d+(?:\.\d+)?",
)
"""A binning or a pixel size, in lower case."""
_HALVES = ("even", "odd", "evn", "half1", "half2", "half_1", "half_2")
"""What a tomogram of half the data is called, in lower case."""
_WORDS = (
    *("rec", "recon", "reconstruction", "full", "vol", "volume", "tomo", "tomogram"),
    *("sirt", "wbp", "fbp", "bp", "sart", "aretomo", "imod"),
    *("ctf", "3dctf", "ctfcorr", "dw", "ali", "aligned", "preali", "newstack"),
    *_HALVES,
    *("2nd", "denoised", "den", "deconv", "filt", "filtered", "lp", "lowpass"),
    *("corrected", "corr", "isonet", "cryocare", "warp", "topaz", "n2n", "inv", "inverted", "flipx", "flipz", "rot"),
)
"""What programs add to a name, in lower case: how the tomogram was made, not which it is."""
_GAP = r"[_\-. ]+"
_ENDING = re.compile(f"(?:{'|'.join(re.escape(ending) for ending in ENDINGS)})$", re.I)
_INNER_ENDING = re.compile(r"\.(?:mrc|st|rec)(?=[_\-. ])", re.I)
"""An ending within a name, as Warp leaves it: TS_01.mrc_10.00Apx.mrc."""
_HALF = re.compile(f"{_GAP}({'|'.join(_HALVES)})(?![^\\W_])", re.I)
_MADE_OTHERWISE = {
    re.compile(rf"{_GAP}(?:flip[xyz]*|flipped|rot|rot[xyz]|rotated|mirror(?:ed)?)(?![^\W_])", re.I): (
        "is turned or mirrored, by its name, which the list's does not say: are its coordinates of this file?"
    ),
    re.compile(rf"{_GAP}inv(?:erted)?(?![^\W_])", re.I): (
        "is inverted, by its name, which the list's does not say: does dataset.contrast hold for it?"
    ),
    _HALF: "is made of a half of the data, by its name, as there is no whole one",
}
"""What a name may say of a file that means more than how it was made, and what to say where the list's does not."""
_NO_NUMBER = re.compile(
    rf"(?<![^\W_])(?:{'|'.join(_SIZES)}|(?:b|x|v|k|ver|version|it|iter|sirt|half)_?\d+|\d+[^\W\d_]\w*)(?![^\W_])", re.I
)
"""What has digits and is no number of a tomogram."""
_OTHERWISE = re.compile(
    r"(?<![^\W_])(?:masks?|seg|segmentation|labels?|scores?|angles?|fsc)(?![^\W_])",
    re.I,
)
"""What is made from a tomogram, voxel by voxel, and is none."""
_OF_MASKS = "masks?|seg|segmented|segmentation|membranes?|lamellae?|labels?|boundary|slab"
_MASK = re.compile(f"{_GAP}(?:{_OF_MASKS})$|^(?:{_OF_MASKS}){_GAP}(?=.)", re.I)
"""What is added to a tomogram's name to name its mask."""
_SIZE = re.compile(f"{_GAP}(?:{'|'.join(_SIZES)})$", re.I)
_WORD = re.compile(f"{_GAP}(?:{'|'.join(_WORDS)})$", re.I)
_BEFORE = re.compile(f"^(?:rec|full|tomogram|recon){_GAP}(?=.)", re.I)


class Match(NamedTuple):
    """The file that a name means, and why."""

    file: str
    reason: str


class Matches(NamedTuple):
    """What is meant, by name."""

    found: Mapping[str, Match]
    unclear: Mapping[str, Sequence[str]]
    """Names to which several files are equally near, or that share their only file with another name."""
    rivals: Mapping[str, Sequence[str]]
    """The other names that claim the file of an unclear name."""


_REASONS = (
    *("the exact name", "the name without ending", "the name without what programs add"),
    *("the name without what programs add, of half the data", "the name as words"),
)


def match_names(names: Iterable[str], files: Sequence[str]) -> Matches:
    """Return which of ``files`` (names without folder) each of ``names`` means; names in neither part mean none."""
    distinct = list(dict.fromkeys(names))
    claims = {name: {file: rank for file in files if (rank := _claim(name, file)) is not None} for name in distinct}
    best = {file: min((claim[file] for claim in claims.values() if file in claim), default=None) for file in files}
    found: dict[str, Match] = {}
    unclear: dict[str, list[str]] = {}
    for name, claim in claims.items():
        own = {file: rank for file, rank in claim.items() if rank == best[file]}
        nearest = [file for file, rank in own.items() if rank == min(own.values())]
        if len(nearest) == 1:
            found[name] = Match(nearest[0], _REASONS[own[nearest[0]]])
        elif nearest:
            unclear[name] = nearest
    found |= _of_kin(found, {name: claims[name] for name in distinct if name not in found and name not in unclear})
    rivals = _rivals(found)
    for name in rivals:
        unclear[name] = [found.pop(name).file]
    return Matches(found, unclear, rivals)


def named_files(names: Iterable[str], files: Iterable[str]) -> dict[str, set[str]]:
    """Return the files that have each name, be it without endings and what programs add; numbers name none.

    Names that no file has are left out.
    """
    by_key: dict[str, set[str]] = {}
    for file in files:
        stem = bare(file)
        for key in (stem, _without_words(stem), _core(stem)):
            by_key.setdefault(key, set()).add(file)
    found = {}
    for name in names:
        word = bare(name)
        near = set[str]().union(*(by_key.get(key, ()) for key in (word, _without_words(word))))
        if own := {file for file in near if _is_named(name, file)}:
            found[name] = own
    return found


def _is_named(name: str, file: str) -> bool:
    rank = None if name.isdecimal() or bare(name).isdecimal() else _claim(name, file)
    return rank is not None and rank <= _REASONS.index("the name without what programs add")


def match_masks(tomograms: Iterable[str], files: Sequence[str]) -> Matches:
    """Return which mask of ``files`` belongs to each of some tomograms, all of them names of files.

    The rule is that of `match_names`, without words for masks, and without the binning of either: the voxel sizes of
    both are compared elsewhere.
    """
    words = {name: _without_mask(bare(name)) for name in tomograms}
    masks: dict[str, list[str]] = {}
    for file in files:
        masks.setdefault(_OTHERWISE.sub("x", _without_mask(bare(file))), []).append(file)
    matches = match_names(words.values(), list(masks))
    found, unclear = dict[str, Match](), dict[str, Sequence[str]]()
    for name, word in words.items():
        match = matches.found.get(word)
        meant = [file for each in ([match.file] if match else matches.unclear.get(word, [])) for file in masks[each]]
        if match and len(meant) == 1:
            found[name] = match._replace(file=meant[0])
        elif meant:
            unclear[name] = meant
    return Matches(found, unclear, {})


def _without_mask(stem: str) -> str:
    return _without(stem, _WORD, _SIZE, _MASK)


def guess_of(name: str, match: Match) -> str | None:
    """Say in words by what a file is taken for the one that a name means, where it may well be another."""
    word, stem = bare(name), bare(match.file)
    otherwise = (told for words, told in _MADE_OTHERWISE.items() if words.search(stem) and not words.search(word))
    if told := next(otherwise, None):
        return told
    if name.isdecimal() and match.reason not in _REASONS[:2]:
        return "is taken for the tomogram of a number in the list by the number in its name"
    return (
        "is taken for a tomogram of the list as its name has that name in it" if match.reason == _REASONS[-1] else None
    )


def _rivals(found: Mapping[str, Match]) -> dict[str, list[str]]:
    """Return, for names that mean a file which others mean as well, those others; two spellings are one name."""
    owners: dict[str, list[str]] = {}
    for name, match in found.items():
        owners.setdefault(match.file, []).append(name)
    return {
        name: [other for other in sharing if other != name]
        for sharing in owners.values()
        if len({_identity(name) for name in sharing}) > 1
        for name in sharing
    }


def _of_kin(found: Mapping[str, Match], claims: Mapping[str, Mapping[str, int]]) -> dict[str, Match]:
    """Return, for names without a file, that of a better spelling of theirs: of TS_01.mrc for TS_01."""
    kin: dict[tuple[str, str], set[str]] = {}
    for name, match in found.items():
        kin.setdefault(_identity(name), set()).add(match.file)
    alike = {name: kin.get(_identity(name), set()) & claim.keys() for name, claim in claims.items()}
    return {
        name: Match(file, _REASONS[claims[name][file]])
        for name, files in alike.items()
        if len(files) == 1
        for file in files
    }


def _identity(name: str) -> tuple[str, str]:
    """Return the folder and bare name: TS_01 and TS_01.tomostar are one tomogram, a/TS_01 and b/TS_01 are two."""
    return os.path.dirname(name), bare(name)


def _claim(name: str, file: str) -> int | None:
    """Return the rank of a name's claim to a file, 0 the best; None where it has none."""
    if os.path.basename(name.rstrip("/")) == file:
        return 0
    word, stem = bare(name), bare(file)
    if word == stem:
        return 1
    if _OTHERWISE.search(stem) and not _OTHERWISE.search(word):
        return None
    halves = _half_of(word), _half_of(stem)
    added = 2 if halves[0] == halves[1] else 3
    if word.isdecimal():
        return added if _numbers(stem) == [int(word)] else None
    if _without_words(word) in (_without_words(stem), _core(stem)):
        return None if added == 3 and all(halves) else added
    return 4 if _as_words(word, stem) else None


def _half_of(stem: str) -> str | None:
    """Return which half of the data a name tells of; None where it tells of none."""
    found = _HALF.search(stem)
    return found and found[1].lower()


def bare(name: str) -> str:
    """Return the name of a tomogram without folder and endings."""
    name = _INNER_ENDING.sub("", os.path.basename(name.rstrip("/")))
    while (shorter := _ENDING.sub("", name)) and shorter != name:
        name = shorter
    return name


def _core(stem: str) -> str:
    """Return what is left of a file's name without all that programs add."""
    return _without(stem, _WORD, _SIZE)


def _without_words(stem: str) -> str:
    return _without(stem, _WORD)


def _without(stem: str, *added: re.Pattern[str]) -> str:
    before = None
    while before != stem:
        before = stem
        stem = _BEFORE.sub("", stem)
        for pattern in added:
            stem = pattern.sub("", stem)
    return stem


def _numbers(stem: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", _NO_NUMBER.sub("", _core(stem)))]


def _as_words(word: str, stem: str) -> bool:
    """Tell whether a name stands in a file's as whole words, with no number behind it but a binning or pixel size."""
    for place in re.finditer(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", stem):
        behind = _core("_" + stem[place.end() :])
        if not any(each.isdecimal() for each in re.split(_GAP, behind)):
            return True
    return False
