"""The page's server: it answers on this machine alone, and only to who knows the token in the address.

Whatever a request names is a number within bounds or a word of a short list; no request names a path.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cryoreg.contracts import Subtomograms
from cryoreg.errors import CryoregError
from cryoreg.inference.writers import notes_on_files
from cryoreg.labelling.label_file import UNDO
from cryoreg.labelling.lists import FORMS, listed
from cryoreg.labelling.pictures import COLUMNS, LOOKS, TILES
from cryoreg.labelling.session import JUNK, PROPER, SOURCES, Row, Session, coded, is_class, is_name
from cryoreg.labelling.teaching import Teacher

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_SIMILAR = 1000
_MOST_BYTES = 4_000_000
"""Of a request: what all of 100,000 subtomograms need."""
_ELSEWHERE = Path("/another folder")
"""Whose place nobody knows."""
HOSTS = ("127.0.0.1", "localhost")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


_Answer = Callable[[Request], Response]


def new_token() -> str:
    """Return what nobody guesses."""
    return secrets.token_urlsafe(24)


def make_app(session: Session, token: str) -> Starlette:
    """Return the server of a session; addresses begin with the token."""
    files = {file.name: file.read_bytes() for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES}

    def page(request: Request) -> Response:
        return Response(files["index.html"], media_type="text/html")

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files or name == "index.html":
            raise HTTPException(404)
        return Response(files[name], media_type=_TYPES[Path(name).suffix])

    routes: dict[str, _Answer] = {"/": page, "/static/{name}": static}
    routes |= {path: _bound(answer, session) for path, answer in _ANSWERS.items()}
    all_routes = [Route(f"/{{token}}{path}", answer, methods=["GET"]) for path, answer in routes.items()]
    all_routes += [
        Route(f"/{{token}}/{name}", _posting(session, answer), methods=["POST"])
        for name, answer in (("labels", _labels), ("classes", _classes))
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS)), Middleware(_Guard, token=token)]
    return Starlette(routes=all_routes, middleware=guards)


class _Guard:
    """Answers nobody without the token, and nothing that another site's page asks for."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = scope["path"].split("/")[1]
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        own = f"http://{headers.get(b'host', b'').decode('latin-1')}"
        if not secrets.compare_digest(given.encode(), self.token.encode()) or origin not in ("", own):
            response = Response("not found; use the address that `cryoreg label` printed\n", 404)
            return await response(scope, receive, send)

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = {key.encode(): value.encode() for key, value in _HEADERS.items()}
                message["headers"] = [*message["headers"], *added.items()]
            await send(message)

        return await self.app(scope, receive, with_headers)


def _bound(answer: Callable[[Session, Request], Response], session: Session) -> _Answer:
    def answered(request: Request) -> Response:
        try:
            return answer(session, request)
        except CryoregError as error:
            return JSONResponse({"error": str(error)}, 409)

    return answered


def _posting(session: Session, answer: Callable[[Session, bytes], object]) -> Callable[[Request], Awaitable[Response]]:
    """Answer what changes something: ``answer`` raises `ValueError` for what makes no sense."""

    async def answered(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return JSONResponse({"error": "more than one request may say"}, 413)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "not JSON"}, 415)
        try:
            return JSONResponse(await run_in_threadpool(answer, session, body))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except CryoregError as error:
            return JSONResponse({"error": str(error)}, 507)

    return answered


def _labels(session: Session, body: bytes) -> object:
    return {"refused": session.label(*_read(session, body))}


def _classes(session: Session, body: bytes) -> object:
    """Keep a name that somebody typed, instead of another one where they say so; empty takes that out."""
    said = json.loads(body)
    names = [said.get(key, "") for key in ("name", "instead_of")] if isinstance(said, dict) else [""]
    if not any(names) or not all(name == "" or is_name(name) for name in names):
        raise ValueError("should be the name of a class, or whose place it takes, or both")
    _require_class(names[0])
    session.name_class(*names)
    return {"classes": session.classes(), "gone": session.gone()}


def _require_class(name: str) -> None:
    if name and not is_class(name):
        raise ValueError(f"'{name}' can be no class; {PROPER}")


def _read(session: Session, body: bytes) -> tuple[list[Row], str]:
    """Return what a request says; raise `ValueError` where that makes no sense."""
    said = json.loads(body)
    if not (isinstance(said, dict) and said.get("source") in SOURCES and isinstance(said.get("changes"), list)):
        raise ValueError("should be changes, and a source that is one of: " + ", ".join(SOURCES))
    rows = []
    for each in said["changes"]:
        if not (isinstance(each, list) and len(each) == 3 and type(each[0]) is int):
            raise ValueError("each change should be a row, a class and the class before")
        row, name, was = each
        if not (0 <= row < len(session.ids) and all(part == "" or is_name(part) for part in (name, was))):
            raise ValueError("a row is not there, or a class has no proper name")
        if said["source"] != UNDO:  # which may bring back what an older cryoreg let pass
            _require_class(name)
        rows.append(Row(row, name, was))
    if len({each.row for each in rows}) < len(rows):
        raise ValueError("a row is there twice")
    return rows, said["source"]


def _data(session: Session, request: Request) -> Response:
    """Answer what does not change while a page is open, and what it may take back."""
    dataset, where = session.dataset, session.whereabouts
    tomograms = [] if where is None else list(zip(where.names, where.tomograms, strict=True))
    return JSONResponse(
        {
            "title": session.title,
            "file": session.file.path.name,
            "ids": session.ids,
            "tomogram": coded(dataset.groups),
            "said": coded([session.said.get(row) for row in range(len(dataset))]) if session.said else None,
            "grouped": session.grouped,
            "box": list(dataset.box),
            "voxel_size": dataset.voxel_size,
            "sheet": {"tiles": TILES, "columns": COLUMNS, "tile": session.pictures.tile},
            "looks": list(LOOKS),
            "tomograms": [
                {"name": name, "shape": list(one.shape), "reach": _reach(dataset, one.voxel_size)}
                for name, one in tomograms
            ],
            "which": [] if where is None else where.which.tolist(),
            "places": [] if where is None else where.places.round(1).tolist(),
            "past": session.past(),
            "who": session.file.who,
            "junk": JUNK,
            "forms": list(FORMS),
        }
    )


def _reach(dataset: Subtomograms, voxel_size: float | None) -> float:
    """Return half the width of a box in voxels of its tomogram."""
    step = dataset.voxel_size / voxel_size if dataset.voxel_size and voxel_size else 1.0
    return step * dataset.box[0] / 2


def _changes(session: Session, request: Request) -> Response:
    """Answer what has changed: labels after ``since``, and what is taught where it is not at step ``step``."""
    version, changed = session.changes(_number(request.query_params.get("since", "0"), 1 << 60))
    teacher = session.teacher
    answer: dict[str, object] = {"version": version, "changed": changed, "classes": session.classes()}
    answer["gone"] = session.gone()
    if teacher is not None:
        answer |= {"done": teacher.done, "problem": teacher.problem, "step": teacher.steps}
        if str(teacher.steps) != request.query_params.get("step"):
            answer["taught"] = _taught(teacher)
    return JSONResponse(answer)


def _taught(teacher: Teacher) -> dict[str, object]:
    taught = teacher.taught
    known = (
        None
        if taught is None
        else {
            "classes": taught.classes,
            "predictions": taught.predictions.tolist(),
            "confidences": (100 * taught.confidences).round().astype(int).tolist(),
            "doubts": (100 * taught.doubts).round().astype(int).tolist(),
            "labels": taught.labels,
        }
    )
    return {
        "known": known,
        "next": teacher.next,
        "course": [point._asdict() for point in teacher.course],
        "groups": None if teacher.groups is None else teacher.groups.tolist(),
        "layouts": {name: points.astype(float).round(3).T.tolist() for name, points in teacher.layouts.items()},
    }


def _sheet(session: Session, request: Request) -> Response:
    number = _number(request.path_params["number"], session.pictures.sheets)
    return _kept(session.pictures.sheet(_look(request), number), "image/jpeg")


def _picture(session: Session, request: Request) -> Response:
    row = _number(request.path_params["row"], len(session.ids))
    turn = _number(request.query_params.get("turn", "0"), 360)
    return _kept(session.pictures.picture(_look(request), row, turn), "image/png")


def _section(session: Session, request: Request) -> Response:
    where = session.whereabouts
    number = _number(request.path_params["number"], 0 if where is None else len(where.tomograms))
    assert where is not None
    z = _number(request.path_params["z"], where.tomograms[number].shape[0])
    return _kept(where.section(number, z), "image/jpeg")


def _similar(session: Session, request: Request) -> Response:
    rows = [_number(row, len(session.ids)) for row in request.path_params["rows"].split(",")]
    return JSONResponse(session.similar(rows, _SIMILAR))


def _export(session: Session, request: Request) -> Response:
    """Answer with the labels as a list, to be saved where the browser saves files: beside nothing that it names."""
    form = request.path_params["form"]
    if form not in FORMS:
        raise HTTPException(404)
    place = _ELSEWHERE / f"labels.{form}"
    content = listed(session.dataset, session.labels(), place, session.numbered())
    headers = {"content-disposition": f'attachment; filename="{place.name}"', "cache-control": "no-store"}
    if notes := _notes(place, session.dataset):
        headers["x-cryoreg-notes"] = json.dumps(notes)
    return Response(content, media_type="text/plain", headers=headers)


def _notes(place: Path, dataset: Subtomograms) -> list[str]:
    """Return what a list lacks that is saved nobody knows where, and alone."""
    notes = [note.replace(str(_ELSEWHERE), _ELSEWHERE.name) for note in notes_on_files(place, None, dataset)]
    if place.suffix == ".star" and dataset.optimisation_set:
        notes.append("note: `cryoreg label ... --export labels.star` writes its optimisation set, too")
    return notes


_ANSWERS: Mapping[str, Callable[[Session, Request], Response]] = {
    "/data": _data,
    "/changes": _changes,
    "/sheets/{look}/{number}": _sheet,
    "/pictures/{look}/{row}": _picture,
    "/sections/{number}/{z}": _section,
    "/similar/{rows}": _similar,
    "/export/{form}": _export,
}


def _kept(data: bytes, kind: str) -> Response:
    return Response(data, media_type=kind, headers={"cache-control": "private, max-age=86400"})


def _look(request: Request) -> str:
    look: str = request.path_params["look"]
    if look not in LOOKS:
        raise HTTPException(404)
    return look


def _number(text: str, end: int) -> int:
    """Return a whole number from 0 to below ``end``; answer that there is nothing where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < end):
        raise HTTPException(404)
    return int(text)
