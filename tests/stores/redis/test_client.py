"""The connections to Redis."""

import pytest

from stores.base import StoreUnreachableError
from stores.redis.client import reaching


@pytest.mark.parametrize("error", [OSError("refused"), TimeoutError(), RuntimeError("the handler is closed")])
def test_lost(error: Exception) -> None:
    """Whatever a lost connection raises, uvloop's own error included, says that the store is away."""
    with pytest.raises(StoreUnreachableError), reaching():
        raise error
