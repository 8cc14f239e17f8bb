"""The documents of one application, made when the first is asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from app.contract import asyncapi, openapi, python
from app.contract.endpoint import Endpoint
from app.contract.events import Event, events_of
from app.contract.shapes import Schema, Shapes
from handlers.table import Route


class Contract:
    """What clients of an application with these routes, endpoints and socket path may rely on."""

    def __init__(self, routes: Mapping[str, Route], endpoints: Sequence[Endpoint], path: str) -> None:
        self._routes = routes
        self._endpoints = endpoints
        self._path = path

    @cached_property
    def events(self) -> list[Event]:
        """All events, those of plugins included."""
        return events_of(self._routes)

    @cached_property
    def shapes(self) -> Shapes:
        """Their schemas."""
        return Shapes(self.events)

    @cached_property
    def schemas(self) -> dict[str, Schema]:
        """A JSON Schema for the frames of each event, by the event's key."""
        return {event.key: self.shapes.alone(event) for event in self.events}

    @cached_property
    def encoded_schemas(self) -> dict[str, msgspec.Raw]:
        """The same as JSON."""
        return {key: _encoded(schema) for key, schema in self.schemas.items()}

    def asyncapi(self, host: str, *, is_secure: bool = False) -> dict[str, Any]:
        """Return the AsyncAPI document, for a server of this name and port."""
        server = asyncapi.server(host, is_secure=is_secure)
        return {**self._asyncapi, "servers": {"here": server}}

    def encoded_asyncapi(self, host: str, *, is_secure: bool = False) -> msgspec.Raw:
        """Return the same as JSON, of which only the server is encoded anew."""
        server = asyncapi.server(host, is_secure=is_secure)
        return _encoded({**self._encoded_asyncapi, "servers": {"here": server}})

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi.document(self._endpoints)

    @cached_property
    def encoded_openapi(self) -> msgspec.Raw:
        """The same as JSON."""
        return _encoded(self.openapi)

    @cached_property
    def python(self) -> str:
        """The types of the Python client, as a module."""
        return python.module(self.events, self.shapes)

    @cached_property
    def _asyncapi(self) -> dict[str, Any]:
        return asyncapi.document(self.events, self.shapes, self._path)

    @cached_property
    def _encoded_asyncapi(self) -> dict[str, msgspec.Raw]:
        return {name: _encoded(part) for name, part in self._asyncapi.items()}


def _encoded(document: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(document))
