"""Which key verifies which token, by the `kid` of its header (RFC 7515 section 4.1.4)."""

from collections.abc import Sequence

from app.auth.algorithms import Key
from app.auth.issuer import IssuerKeys
from app.auth.keyfile import KeyFile


class KeyRing:
    """All public keys of a node, in PEM and of the issuer. See `app.auth.tokens.Keys`.

    A key in PEM has no name of its own, and issuers give theirs names as they like. So a token
    without a `kid`, or with one that no key here has, is tried with each key in PEM. A token without a `kid` is also
    tried with each of the issuer's keys, unless there are more than `MAX_TRIED`.
    """

    def __init__(self, file: KeyFile, issuer: IssuerKeys | None = None) -> None:
        self._file = file
        self._issuer = issuer

    @property
    def own(self) -> Sequence[Key]:
        """The keys in PEM, in the order in which they stand there."""
        return self._file.keys

    async def candidates(self, kid: str | None) -> Sequence[Key]:
        """See `Keys`. Raises `StoreUnreachableError` until the issuer's keys are there."""
        named = None if kid is None else self._file.by_kid.get(kid)
        if named is not None:
            return [named]
        if self._issuer is None:
            return self.own
        theirs = await self._issuer.find(kid)
        return theirs if theirs and kid is not None else [*self.own, *theirs]
