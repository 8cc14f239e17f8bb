"""The contract over HTTP: its documents, and a page that shows them."""

from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from app.contract.contract import Contract
from app.rest.responses import json, json_error

STATIC = Path(__file__).resolve().parents[1] / "contract" / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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


async def get_page(_request: Request) -> Response:
    """Return a page that shows both documents. All that it loads is served from here."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return FileResponse(STATIC / "docs.html", headers=headers)


def static_files() -> list[Mount]:
    """Return the routes of what the page loads: our own files, and those of the packaged renderers."""
    folders = {"static": STATIC, "asyncapi-viewer": _viewer(), "swagger-ui": _swagger()}
    return [Mount(f"/docs/{name}", StaticFiles(directory=folder)) for name, folder in folders.items()]


def _viewer() -> Path:
    return Path(str(files("asyncapi_viewer"))) / "static"


def _swagger() -> Path:
    return next((Path(str(files("swagger_ui_bundle"))) / "vendor").glob("swagger-ui-*"))


def _contract(request: Request) -> Contract:
    contract: Contract = request.app.state.contract
    return contract
