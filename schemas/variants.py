"""Variants: what a socket gets of a struct, by its capabilities.

    class Reply(ServerEvent, frozen=True):
        text: str
        score: Annotated[int | None, Needs("scores")] = None

A socket without `scores` gets a `Reply` without its score. What is left out, of structs within structs too, is worked
out once for each struct and set of capabilities.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from operator import attrgetter, is_
from typing import Any, TypeVar, cast, get_args, get_origin

from msgspec import Struct
from msgspec.structs import FieldInfo, fields, replace

from schemas.capabilities import Spoken

Look = Callable[[Any], Any]
_MOST_VIEWS = 1024
_Struct = TypeVar("_Struct", bound=Struct)
_Value = TypeVar("_Value")


class Needs(Struct, frozen=True):
    """Marks a field that only sockets with the capability get or fill; its default must be None."""

    capability: str


def needs_of(struct: type[Struct]) -> dict[str, str]:
    """Return the capability that each marked field needs, by the field's name on the wire."""
    return {field.encode_name: capability for field, capability in _marked(struct)}


@cache
def capabilities_of(struct: type[Struct]) -> frozenset[str]:
    """Return the capabilities that decide what a socket gets: the struct's own, its fields', and those within it."""
    own = own_capability(struct)
    found = {capability for each in (struct, *_within(struct)) for _, capability in _marked(each)}
    return frozenset(found if own is None else {*found, own})


def own_capability(struct: type[Struct]) -> str | None:
    """Return the capability that a whole event needs; a field of that name does not count."""
    capability = getattr(struct, "capability", None)
    return capability if isinstance(capability, str) else None


def shown(struct: _Struct, spoken: Spoken) -> _Struct:
    """Return what a socket with these capabilities gets of a struct that is not an event."""
    look = views_of(type(struct))[spoken]
    return struct if look is None else cast("_Struct", look(struct))


class Views(dict[Spoken, Look | None]):
    """By capabilities, the function from a struct to what a socket gets of it; None if it gets all."""

    def __init__(self, struct: type[Struct]) -> None:
        super().__init__()
        self._struct = struct

    def __missing__(self, spoken: Spoken) -> Look | None:
        """Work it out."""
        if len(self) >= _MOST_VIEWS:
            self.clear()
        self[spoken] = look = _view(self._struct, spoken)
        return look


@cache
def views_of(struct: type[Struct]) -> Views:
    """Return the views of a struct, which are worked out as they are asked for."""
    return Views(struct)


def _view(struct: type[Struct], spoken: Spoken) -> Look | None:
    own = own_capability(struct)
    if own is not None and own not in spoken:
        return lambda _event: None
    if capabilities_of(struct) <= spoken:
        return None
    hidden = [field.name for field, capability in _marked(struct) if capability not in spoken]
    steps = [_hide(hidden)] if hidden else []
    looks = {field.name: _look(field.type, spoken) for field in _fields(struct) if field.name not in hidden}
    steps += (_look_into(name, look) for name, look in looks.items() if look is not None)
    return steps[0] if len(steps) == 1 else _in_turn(steps)


def _fields(struct: type[Struct]) -> tuple[FieldInfo, ...]:
    """Return the fields of a struct; none if it names a type that does not exist."""
    try:
        return fields(struct)
    except NameError:
        return ()


def _marked(struct: type[Struct]) -> Iterator[tuple[FieldInfo, str]]:
    for field in _fields(struct):
        for mark in _marks(field.type):
            if field.default is not None:
                raise TypeError(f"{struct.__name__}.{field.name} needs a capability, so its default must be None")
            yield field, mark.capability


def _marks(kind: object) -> Iterator[Needs]:
    for part in get_args(kind):
        yield from (part,) if isinstance(part, Needs) else _marks(part)


def _structs(kind: object) -> Iterator[type[Struct]]:
    """Yield the structs that a type names."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
    for part in get_args(kind):
        yield from _structs(part)


@cache
def _within(struct: type[Struct]) -> frozenset[type[Struct]]:
    """Return the structs that a struct is made of; itself only if it may contain its like."""
    found: set[type[Struct]] = set()
    waiting = [struct]
    while waiting:
        parts = {part for field in _fields(waiting.pop()) for part in _structs(field.type)} - found
        found |= parts
        waiting += parts
    return frozenset(found)


def _look(kind: object, spoken: Spoken) -> Look | None:
    """Return the same for any type, worked out now where the type says enough."""
    if all(capabilities_of(part) <= spoken for part in _structs(kind)):
        return None
    if isinstance(kind, type) and issubclass(kind, Struct) and kind not in _within(kind):
        return views_of(kind)[spoken]
    if get_origin(kind) is list:
        look = _look(get_args(kind)[0], spoken)
        return look and partial(_each, look)

    def look_closer(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
        if isinstance(value, Struct):
            return shown(value, spoken)
        if isinstance(value, dict):
            return dict(zip(value, _each(look_closer, value.values()), strict=True))
        return _each(look_closer, value) if isinstance(value, list | tuple) else value

    return look_closer


def _each(look: Look, values: Collection[_Value]) -> Collection[_Value]:
    """Look at each value; if nothing is left out, return them as they are, since a default is known by that."""
    seen = [look(value) for value in values]
    return values if all(map(is_, seen, values)) else seen


def _hide(names: Sequence[str]) -> Look:
    nothing: dict[str, Any] = dict.fromkeys(names)
    getters = [attrgetter(name) for name in names]

    def hide(struct: Struct) -> Struct:
        for get in getters:
            if get(struct) is not None:
                return replace(struct, **nothing)
        return struct

    return hide


def _look_into(name: str, look: Look) -> Look:
    get = attrgetter(name)

    def look_into(struct: Struct) -> Struct:
        before = get(struct)
        after = look(before)
        return struct if after is before else replace(struct, **{name: after})

    return look_into


def _in_turn(steps: Iterable[Look]) -> Look:
    def look(struct: Struct) -> Struct:
        for step in steps:
            struct = step(struct)
        return struct

    return look
