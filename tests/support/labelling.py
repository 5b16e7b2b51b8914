"""A run to label the data of, and a client of the page's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryoreg.config import Layer
from cryoreg.labelling.session import Session
from support.synthetic import write_classes
from support.untrained import make_run

TOKEN = "a-token"
ALONE = [Layer("test", {"training": {"device": "cpu", "precision": "fp32"}})]


def label_run(folder: Path) -> Path:
    """Write a run of untrained weights whose data are sixty volumes of 8³ in two classes."""
    write_classes(folder / "run-data", classes=2, per_class=30)
    make_run(folder / "run", width=4, dataset={"name": "mrc_folder", "root": str(folder / "run-data")})
    return folder / "run"


def client_of(session: Session, **headers: str) -> Any:
    """Return a client of a session's server, which is not started."""
    from starlette.testclient import TestClient

    from cryoreg.labelling.server import make_app

    return TestClient(make_app(session, TOKEN), base_url="http://127.0.0.1:80", headers=headers)
