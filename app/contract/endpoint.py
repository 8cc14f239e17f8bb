"""One path over HTTP: how it is routed, and what the contract tells of it."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from app.settings import Settings

JSON = "application/json"
Call = Callable[[Request], Awaitable[Response]]


class Answer(Struct, frozen=True):
    """What a status means, and the body that comes with it: a struct, or text of another type."""

    means: str
    body: type[Struct] | None = None
    media_type: str = JSON


class JsonError(Struct, frozen=True):
    """The body of every REST error."""

    code: str
    message: str


class Endpoint(Struct, frozen=True, kw_only=True):
    """One method of one path; `examples` has one for each parameter of the path.

    What it does is told by the docstring of its function. The fields of `asks` are what may stand in the query, `takes`
    is the body. `is_served` says where it is routed. `price` is what a request takes from the budget of its
    address; a probe is answered even if that is used up.
    """

    path: str
    call: Call
    tag: str
    answers: Mapping[int, Answer]
    method: str = "GET"
    examples: Mapping[str, str] = {}
    takes: type[Struct] | None = None
    asks: type[Struct] | None = None
    needs_token: bool = False
    price: float = 1.0
    is_probe: bool = False
    is_served: Callable[[Settings], bool] = lambda _settings: True
