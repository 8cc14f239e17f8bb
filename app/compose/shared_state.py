"""The state that all nodes share: their clock, and the salt of address hashes."""

from app.admission.addresses import Addresses
from app.clock import SystemClock
from handlers.ports import Clock
from stores.protocols import Stores


class SharedState:
    """Takes clock and salt from the store. They are unknown until the store has been reached."""

    def __init__(self, stores: Stores, clock: Clock, addresses: Addresses) -> None:
        self._stores = stores
        self._clock = clock
        self._addresses = addresses
        self._is_known = bool(stores.salt)

    @property
    def is_known(self) -> bool:
        """Whether clock and salt are known."""
        if not self._is_known:
            self.follow()
        return self._is_known

    def follow(self) -> None:
        """Use the store's clock and salt from now on, as far as they are known."""
        if self._stores.ahead is not None and isinstance(self._clock, SystemClock):
            self._clock.follow(self._stores.ahead)
        if self._stores.salt:
            self._addresses.salt = self._stores.salt
            self._is_known = True
