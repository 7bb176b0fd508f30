"""The web page at `/`: static files of the package."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from pinxit.serve.errors import RefusedError

WEB = Path(__file__).parent / "web"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
router = APIRouter(include_in_schema=False)


def static_files() -> dict[str, Path]:
    """The files by name; nothing else is ever served."""
    return {path.name: path for path in WEB.iterdir() if path.suffix in MEDIA_TYPES}


FILES = static_files()


@router.get("/")
async def page() -> Response:
    """The page."""
    return _response("index.html")


@router.get("/web/{name}")
async def asset(name: str) -> Response:
    """A script, style sheet or icon of the page."""
    return _response(name)


def _response(name: str) -> Response:
    path = FILES.get(name)
    if path is None:
        raise RefusedError(404, "there is no such file here.")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers={"cache-control": "no-cache"})
