"""Tokens and keys for tests."""

import time
from pathlib import Path

from joserfc.jwk import RSAKey

from app.auth.keys import make_keys
from app.auth.tokens import dev_claims, sign
from stores.model import User

ISSUER = "peersync-dev-connect"
AUDIENCE = "peersync-clients"


class Keys:
    """A key pair in a folder, and the tokens that it signs."""

    def __init__(self, folder: Path) -> None:
        self.private_path = folder / "private.pem"
        self.public_path = folder / "public.pem"
        make_keys(self.private_path, self.public_path)
        self.key = RSAKey.import_key(self.private_path.read_bytes())

    def environment(self) -> dict[str, str]:
        """Return the settings that make a server use these keys."""
        return {"JWT_PRIVATE_KEY_PATH": str(self.private_path), "JWT_PUBLIC_KEY_PATH": str(self.public_path)}

    def claims(self, user: str, org: str | None = None, ttl: int = 3600) -> dict[str, object]:
        """Return good claims for a user, as the recorded scenes name it."""
        return dev_claims(
            User(user, org),
            issuer=ISSUER,
            audience=AUDIENCE,
            now=time.time(),
            ttl=ttl,
            name=f"Name {user}",
            email=f"{user}@example.com",
        )

    def token(self, user: str, org: str | None = None, ttl: int = 3600) -> str:
        """Return a good token for a user."""
        return sign(self.key, self.claims(user, org, ttl))
