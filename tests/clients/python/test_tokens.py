"""When which token is asked for, by a clock in hand."""

import base64
import json

import pytest

from peersync.tokens import RENEW_SECONDS, RETRY_SECONDS, Tokens, expiry


class Bench:
    """A clock, and a source of tokens that live for `ttl` seconds from when they are asked for."""

    def __init__(self, ttl: float = 3600) -> None:
        self.time = 1000.0
        self.ttl = ttl
        self.asked = 0
        self.tokens = Tokens(self.source, lambda: self.time)

    def source(self) -> str:
        self.asked += 1
        return jwt(exp=self.time + self.ttl, jti=self.asked)


def jwt(**claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


async def test_a_token_serves_until_shortly_before_it_expires() -> None:
    bench = Bench()
    first = await bench.tokens.get()
    assert bench.tokens.seconds_left() == 3600 - RENEW_SECONDS
    bench.time += 3600 - RENEW_SECONDS - 1
    assert await bench.tokens.get() == first
    bench.time += 2
    assert bench.tokens.seconds_left() == 0
    assert await bench.tokens.get() != first
    assert bench.asked == 2


async def test_a_short_life_is_used_for_three_quarters() -> None:
    bench = Bench(ttl=8)
    await bench.tokens.get()
    assert bench.tokens.seconds_left() == 6


@pytest.mark.parametrize("token", ["opaque", "a.b.c", jwt(), jwt(exp="soon"), jwt(exp=[]), "e30.W10.x", "e30.MQ.x"])
async def test_a_token_that_does_not_say_when_it_expires(token: str) -> None:
    """It is kept until the server complains."""
    tokens = Tokens(token, lambda: 1000.0)
    assert await tokens.get() == token
    assert tokens.seconds_left() is None
    assert expiry(token) is None


async def test_a_clock_that_is_wrong() -> None:
    """A token that has expired before it came says nothing of the time that is left."""
    bench = Bench(ttl=-5)
    first = await bench.tokens.get()
    assert bench.tokens.seconds_left() is None
    assert await bench.tokens.get() == first


async def test_a_renewal() -> None:
    """It gives the new token; where there is none yet it is tried again before long."""
    tokens = iter([jwt(exp=2000), jwt(exp=2000), jwt(exp=9000)])
    kept = Tokens(lambda: next(tokens), lambda: 1000.0)
    await kept.get()
    assert await kept.renew() is None
    assert kept.seconds_left() == RETRY_SECONDS
    assert await kept.renew() == jwt(exp=9000) == await kept.get()


async def test_a_renewal_that_fails() -> None:
    """The source is not asked over and over."""
    tokens = iter([jwt(exp=2000)])

    def source() -> str:
        if token := next(tokens, None):
            return token
        raise ConnectionRefusedError

    kept = Tokens(source, lambda: 1990.0)
    await kept.get()
    with pytest.raises(ConnectionRefusedError):
        await kept.renew()
    assert kept.seconds_left() == RETRY_SECONDS


async def test_a_coroutine_function() -> None:
    async def source() -> str:
        return "token"

    assert await Tokens(source, lambda: 0.0).get() == "token"


async def test_one_that_expired_is_asked_for_anew() -> None:
    bench = Bench()
    first = await bench.tokens.get()
    bench.tokens.expired()
    assert await bench.tokens.get() not in {first, None}


async def test_refusals() -> None:
    """Another token is tried once; the same, or a second that is refused, never."""
    bench = Bench()
    await bench.tokens.get()
    assert bench.tokens.refused()
    assert await bench.tokens.get() is not None
    assert not bench.tokens.refused()
    assert await bench.tokens.get() is None
    same = Tokens(lambda: "same", lambda: 0.0)
    await same.get()
    assert same.refused()
    assert await same.get() is None
    fixed = Tokens("fixed", lambda: 0.0)
    await fixed.get()
    assert not fixed.refused()


async def test_a_success_forgives_a_refusal() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.tokens.get()
        assert bench.tokens.refused()
        await bench.tokens.get()
        bench.tokens.accepted()
