"""The console: a page for whoever writes a plugin. All that it loads is ours, and served from here."""

from os import stat_result
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

NO_CACHE = {"Cache-Control": "no-cache"}
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
        **NO_CACHE,
    }
    return FileResponse(STATIC / "console.html", headers=headers)


def static_files() -> list[Mount]:
    """Return the routes of what the page loads."""
    return [Mount("/console/static", _Files(directory=STATIC))]


class _Files(StaticFiles):
    """Files that a browser asks about each time, so that after an update a page is not made of old parts and new."""

    def file_response(
        self, full_path: PathLike, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file, or word that the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(NO_CACHE)
        return response
