"""The web page at `/`: static files of the package."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
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
async def page(request: Request) -> Response:
    """The page."""
    return _response(request, "index.html")


@router.get("/web/{name}")
async def asset(request: Request, name: str) -> Response:
    """A script, style sheet or icon of the page."""
    return _response(request, name)


def _response(request: Request, name: str) -> Response:
    """The file, or 304 if the browser has it as it is; `no-cache` has it asked every time."""
    path = FILES.get(name)
    if path is None:
        raise RefusedError(404, "there is no such file here.")
    headers = {"cache-control": "no-cache"}
    found = FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers, stat_result=path.stat())
    tag, known = found.headers["etag"], request.headers.get("if-none-match", "").split(",")
    if tag in (one.strip().removeprefix("W/") for one in known):  # W/: as a proxy that compresses writes it
        return Response(status_code=304, headers=headers | {"etag": tag})
    return found
