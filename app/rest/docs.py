"""The contract over HTTP: its documents, and a page that shows them beside the guide."""

from functools import cache
from os import stat_result
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

from app.contract.contract import Contract
from app.rest.models import Guide, GuidePage
from app.rest.responses import json, json_error

NO_CACHE = {"Cache-Control": "no-cache"}
STATIC = Path(__file__).resolve().parents[1] / "contract" / "static"
GUIDE = Path(__file__).resolve().parents[2] / "docs"
GUIDE_PAGES = (
    "quickstart",
    "concepts",
    "writing-a-client",
    "errors",
    "resume",
    "editors",
    "console",
    "agents",
    "writing-a-handler",
    "identity",
    "protocol",
)
GUIDE_TYPES = {".md", ".svg", ".png"}
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    **NO_CACHE,
}


class Files(StaticFiles):
    """Files that a browser asks about each time, so that after an update a page is not made of old parts and new."""

    def file_response(
        self, full_path: PathLike, stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file, or word that the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(NO_CACHE)
        return response


class GuideFiles(Files):
    """The pages of the guide and their pictures; what else is in the folder is not served."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a page or a picture."""
        if Path(path).suffix not in GUIDE_TYPES:
            raise HTTPException(404)
        return await super().get_response(path, scope)


async def get_asyncapi(request: Request) -> Response:
    """Return the AsyncAPI document of the socket, with its address as the asker sees it."""
    return json(_contract(request).encoded_asyncapi(request.url.netloc, is_secure=request.url.scheme == "https"))


async def get_openapi(request: Request) -> Response:
    """Return the OpenAPI document of all that is there over HTTP."""
    return json(_contract(request).encoded_openapi)


async def get_schema(request: Request) -> Response:
    """Return the JSON Schema of the frames of one event."""
    name = request.path_params["event"]
    schema = _contract(request).encoded_schemas.get(name)
    return json_error(404, "NOT_FOUND", f"There is no event {name[:100]!r}") if schema is None else json(schema)


async def get_guide(_request: Request) -> Response:
    """Return the pages of the guide; none where the server runs without the folder `docs/`."""
    return json(Guide(guide_pages()))


async def get_page(_request: Request) -> Response:
    """Return a page for people: every event and endpoint, and the guide. All that it loads is served from here."""
    return FileResponse(STATIC / "docs.html", headers=PAGE_HEADERS)


@cache
def guide_pages() -> list[GuidePage]:
    """Return the pages of the guide that are there, in the order of reading, with their headings."""
    paths = [GUIDE / f"{name}.md" for name in GUIDE_PAGES]
    return [GuidePage(path.stem, _heading(path)) for path in paths if path.is_file()]


def static_files() -> list[Mount]:
    """Return the routes of what the page loads."""
    guide = [Mount("/docs/guide", GuideFiles(directory=GUIDE))] if guide_pages() else []
    return [Mount("/docs/static", Files(directory=STATIC)), *guide]


def _heading(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").replace("`", "")


def _contract(request: Request) -> Contract:
    contract: Contract = request.app.state.contract
    return contract
