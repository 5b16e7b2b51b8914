"""What a notebook shows of data sets and results: small tables in HTML, in which every text is escaped."""

from __future__ import annotations

import base64
import io
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cryoreg.errors import CryoregError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS = 20
"""Of a table; of more, the first."""
_NAMES = 8
_PICTURES = 8
_SECONDS = 1.0
"""After these no further subtomogram is read for its picture."""
_EDGE = 72
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"
_NUMBER = "text-align:right;vertical-align:top;padding:2px 12px 2px 0;font-variant-numeric:tabular-nums"


def shown(title: str, facts: Mapping[str, object], *parts: str) -> str:
    """Return facts by name under a title, and ``parts``, which are HTML already, below; what is None is left out."""
    told = [(name, value) for name, value in facts.items() if value is not None]
    rows = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in told
    )
    table = f'<table style="margin:4px 0">{rows}</table>' if rows else ""
    return f"<div><strong>{escape(title)}</strong>{table}{''.join(parts)}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, of long ones the first rows; numbers stand to the right."""
    held = [list(row) for row in rows]
    names = "".join(f'<th scope="col" style="{_CELL}">{escape(name)}</th>' for name in head)
    body = "".join(f'<tr style="background:none">{"".join(map(_cell, row))}</tr>' for row in held[:_ROWS])
    more = f"<div>and {len(held) - _ROWS:,} more</div>" if len(held) > _ROWS else ""
    return f'<table style="margin:4px 0"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>{more}'


def _cell(value: object) -> str:
    number = isinstance(value, (int, float))
    return f'<td style="{_NUMBER if number else _CELL}">{escape(f"{value:,}" if number else str(value))}</td>'


def lines(texts: Iterable[str]) -> str:
    """Return each text as a paragraph of its own."""
    return "".join(f'<div style="margin:2px 0">{escape(text)}</div>' for text in texts)


def dataset(data: Any) -> str:
    """Return what is known of a data set (`Subtomograms`), and central slices of a few, where reading is quick."""
    labels = Counter(data.labels)
    counted = [(name, labels[index]) for index, name in enumerate(data.classes)]
    tomograms = {group for group in data.groups if group is not None}
    facts = {
        "subtomograms": f"{len(data):,}",
        "classes": _listed([f"{name} ({count:,})" for name, count in counted]) or "none: unlabelled",
        "unlabelled": f"{labels[None]:,}" if counted and labels[None] else None,
        "tomograms": f"{len(tomograms):,}" if tomograms else None,
        "box": " × ".join(map(str, data.box)) + " voxels (z, y, x)",
        "voxel size": f"{data.voxel_size:.4g} Å" if data.voxel_size else None,
        "contrast": data.contrast,
        "tilts": "{:g}° to {:g}°".format(*data.tilt_range) if data.tilt_range else None,
    }
    pictures = "" if data.simulated else _pictures(data)
    return shown("Data set", facts, lines(f"note: {note}" for note in data.notes), pictures)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _pictures(data: Any) -> str:
    count = min(_PICTURES, len(data))
    begun, found = time.monotonic(), []
    for number in range(count):
        index = (2 * number + 1) * len(data) // (2 * count)
        try:
            volume = data[index].volume
        except CryoregError as error:
            return lines([str(error)])
        found.append(_picture(volume[0, volume.shape[1] // 2].numpy(), data.ids[index]))
        if time.monotonic() - begun > _SECONDS:
            break
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px">{"".join(found)}</div>'


def _picture(image: NDArray[np.float32], name: str) -> str:
    """Return a slice (H, W) as a picture, y upwards, three standard deviations about its mean from black to white."""
    import numpy as np
    from PIL import Image

    spread = float(image.std()) or 1.0
    grey = np.clip((image - image.mean()) / spread * 42.5 + 127.5, 0, 255)
    file = io.BytesIO()
    Image.fromarray(np.nan_to_num(grey[::-1]).astype(np.uint8)).save(file, format="png")
    content = base64.b64encode(file.getvalue()).decode("ascii")
    text = escape(name, quote=True)
    return (
        f'<img src="data:image/png;base64,{content}" alt="central slice of {text}" title="{text}" '
        f'style="width:{_EDGE}px;height:{_EDGE}px;object-fit:contain;image-rendering:pixelated">'
    )
