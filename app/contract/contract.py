"""The documents of one application, made when the first is asked for."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from app.contract import asyncapi, openapi, python
from app.contract.events import Event, events_of
from app.contract.shapes import Schema, Shapes
from app.rest.endpoint import Endpoint
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

    def asyncapi(self, host: str, *, is_secure: bool = False) -> dict[str, Any]:
        """Return the AsyncAPI document, for a server of this name and port."""
        server = asyncapi.server(host, is_secure=is_secure)
        return {**self._asyncapi, "servers": {"here": server}}

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi.document(self._endpoints)

    @cached_property
    def python(self) -> str:
        """The types of the Python client, as a module."""
        return python.module(self.events, self.shapes)

    @cached_property
    def _asyncapi(self) -> dict[str, Any]:
        return asyncapi.document(self.events, self.shapes, self._path)
