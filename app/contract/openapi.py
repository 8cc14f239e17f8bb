"""OpenAPI 3.1: what is there over HTTP."""

import inspect
import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from app import VERSION
from app.contract.endpoint import Answer, Endpoint, JsonError
from app.contract.shapes import Components, Schema, never_null

SCHEME = "accessToken"
OVER_BUDGET = Answer(
    "Too many requests came from the address (`ERR_5004`); `Retry-After` says how long to wait", JsonError
)
INTRODUCTION = """\
Authentication, probes and this contract. Peers speak over the socket, which `/asyncapi.json` tells of. Every refusal is
JSON with a `code` and a `message`.
"""


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    components = Components()
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PeerSync Dev Connect",
            "version": VERSION,
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "securitySchemes": {SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(endpoint: Endpoint, components: Components) -> dict[str, Any]:
    description = inspect.getdoc(endpoint.call) or endpoint.path
    operation: dict[str, Any] = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{endpoint.method} {endpoint.path}".lower()).strip("_"),
        "summary": description.split("\n\n")[0].replace("\n", " "),
        "tags": [endpoint.tag],
        "security": [{SCHEME: []}] if endpoint.needs_token else [],
        "responses": {str(status): _response(answer, components) for status, answer in _answers(endpoint)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in endpoint.examples.items()
    ]
    parameters += _queries(endpoint.asks)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.takes is not None:
        schema = _schema(endpoint.takes, components)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _answers(endpoint: Endpoint) -> list[tuple[int, Answer]]:
    """Return the answers by status, with the refusal that may come before the endpoint is reached."""
    early = {} if endpoint.is_probe else {429: OVER_BUDGET}
    return sorted({**early, **endpoint.answers}.items())


def _response(answer: Answer, components: Components) -> dict[str, Any]:
    schema = {"type": "object" if "json" in answer.media_type else "string"}
    if answer.body is not None:
        schema = _schema(answer.body, components)
    return {"description": answer.means, "content": {answer.media_type: {"schema": schema}}}


def _queries(struct: type[Struct] | None) -> list[dict[str, Any]]:
    """Return the parameters that may stand in the query: the fields of the struct."""
    if struct is None:
        return []
    shapes = Components()
    shapes.add([struct], never_null)
    properties = shapes.schemas[struct.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


def _schema(struct: type[Struct], components: Components) -> Schema:
    return components.add([struct], never_null)[0]
