"""The console: a page for whoever writes a plugin. All that it loads is ours, and served from here."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).resolve().parents[1] / "console" / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def get_page(_request: Request) -> Response:
    """Return a page on which one acts as peers, and sees who is there. It holds nothing: what it shows, it asks for."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(STATIC / "console.html", headers=headers)


def static_files() -> list[Mount]:
    """Return the routes of what the page loads."""
    return [Mount("/console/static", StaticFiles(directory=STATIC))]
