"""The console: a page for people who write a plugin. All that it loads is ours, and served from here."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount

from app.rest.docs import PAGE_HEADERS, Files

STATIC = Path(__file__).resolve().parents[1] / "console" / "static"


async def get_page(_request: Request) -> Response:
    """Return a page on which one acts as peers, and sees who is there. It holds nothing: what it shows, it asks for."""
    return FileResponse(STATIC / "console.html", headers=PAGE_HEADERS)


def static_files() -> list[Mount]:
    """Return the routes of what the page loads, beside what it shares with `/docs`."""
    return [Mount("/console/static", Files(directory=STATIC))]
