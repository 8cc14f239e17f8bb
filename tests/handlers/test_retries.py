"""Work for several: none is kept from its own by another's failure."""

from collections.abc import Awaitable, Callable

import pytest

from handlers.retries import Retries, run_each
from stores.protocols import StoreUnreachableError


class Calls:
    """Makes calls that note that they were made, and then raise their error, if any."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, name: str, *errors: Exception) -> Callable[[], Awaitable[None]]:
        left = list(errors)

        async def call() -> None:
            self.made.append(name)
            if left:
                raise left.pop(0)

        return call


@pytest.fixture
def calls() -> Calls:
    return Calls()


async def test_each(calls: Calls) -> None:
    """Every call is made, in order, and the error raised at the end."""
    with pytest.raises(ZeroDivisionError):
        await run_each([calls("a", ZeroDivisionError()), calls("b", StoreUnreachableError()), calls("c")])
    assert calls.made == ["a", "b", "c"]


async def test_several_errors(calls: Calls) -> None:
    """Several mistakes are raised together; that the store was away several times is one error."""
    with pytest.raises(ExceptionGroup) as info:
        await run_each([calls("a", ZeroDivisionError()), calls("b", KeyError())])
    assert [type(error) for error in info.value.exceptions] == [ZeroDivisionError, KeyError]
    with pytest.raises(StoreUnreachableError):
        await run_each([calls("a", StoreUnreachableError()), calls("b", StoreUnreachableError())])


async def test_retries(calls: Calls) -> None:
    """A call that the store did not answer is made again until it is answered, and then no more."""
    retries, gone = Retries(), StoreUnreachableError()
    await retries.attempt(calls("a", gone, gone))
    await retries.attempt(calls("b", gone), calls("b again"))
    await retries.attempt(calls("c"))
    assert (calls.made, len(retries)) == (["a", "b", "c"], 2)
    with pytest.raises(StoreUnreachableError):
        await retries.retry()
    assert (calls.made[3:], len(retries)) == (["a", "b again"], 1)
    await retries.retry()
    await retries.retry()
    assert (calls.made[5:], len(retries)) == (["a"], 0)


async def test_a_mistake_is_made_once(calls: Calls) -> None:
    """Other errors are raised, and the call is not made again."""
    retries = Retries()
    with pytest.raises(ZeroDivisionError):
        await retries.attempt(calls("a", ZeroDivisionError()))
    await retries.attempt(calls("b", StoreUnreachableError(), ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await retries.retry()
    assert len(retries) == 0
