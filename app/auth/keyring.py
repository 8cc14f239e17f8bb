"""Selects the keys that may verify a token by the `kid` in its header (RFC 7515 section 4.1.4)."""

from collections.abc import Sequence

from app.auth.algorithms import Key
from app.auth.issuer import IssuerKeys
from app.auth.keyfile import KeyFile


class KeyRing:
    """All public keys of a node: those in PEM and the issuer's. See `app.auth.tokens.Keys`.

    A key in PEM carries no name, and issuers name theirs as they like. So the candidates for a token without a `kid`,
    or with an unknown one, are all keys in PEM. For a token without a `kid` they include the issuer's keys, unless
    there are more than `MAX_CANDIDATES`.
    """

    def __init__(self, file: KeyFile, issuer: IssuerKeys | None = None) -> None:
        self._file = file
        self._issuer = issuer

    @property
    def own(self) -> Sequence[Key]:
        """The keys in PEM, in file order."""
        return self._file.keys

    async def candidates(self, kid: str | None) -> Sequence[Key]:
        """See `Keys`. Raises `StoreUnreachableError` until the issuer's keys have been fetched."""
        named = None if kid is None else self._file.by_kid.get(kid)
        if named is not None:
            return [named]
        if self._issuer is None:
            return self.own
        theirs = await self._issuer.find(kid)
        return theirs if theirs and kid is not None else [*self.own, *theirs]
