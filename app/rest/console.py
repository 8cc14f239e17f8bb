"""The console: a web page for plugin authors. This server serves everything that the page loads."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount

STATIC = Path(__file__).resolve().parents[1] / "console" / "static"


async def get_page(_request: Request) -> Response:
    """Return a page to act as peers and to see who is online. The page has no data; it requests all that it shows."""
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        **NO_CACHE,
    }
    return FileResponse(STATIC / "console.html", headers=headers)


def static_files() -> list[Mount]:
    """Return the routes of the files that the page loads."""
    return [Mount("/console/static", _Files(directory=STATIC))]


class _Files(StaticFiles):
    """Files that a browser must revalidate each time, so that a page never mixes files of two versions."""

    def file_response(
        self, full_path: PathLike, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file, or 304 if the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(NO_CACHE)
        return response
