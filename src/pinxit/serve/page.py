"""The page at `/`: files of the package, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from pinxit.serve.errors import RefusedError

WEB = Path(__file__).parent / "web"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
router = APIRouter(include_in_schema=False)


def known() -> dict[str, Path]:
    """The files by their names: nothing else is ever served."""
    return {path.name: path for path in WEB.iterdir() if path.suffix in TYPES}


FILES = known()


@router.get("/")
async def page() -> Response:
    """It."""
    return _sent("index.html")


@router.get("/web/{name}")
async def part(name: str) -> Response:
    """A part of it."""
    return _sent(name)


def _sent(name: str) -> Response:
    path = FILES.get(name)
    if path is None:
        raise RefusedError(404, "there is no such file here.")
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})
