"""A small OpenID Connect issuer for tests: discovery, JWK set, and a login that believes everybody."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from joserfc import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.server import free_port
from tests.support.tokens import Keys

AUDIENCE = "https://peersync.example.com"
START_SECONDS = 10.0
OFTEN = 0.01


class Issuer:
    """A server on 127.0.0.1 that can go down and come back, and whose keys can be rotated.

    It signs with the last of its keys. `asked` counts how often it was asked for them, `answer` replaces what it says.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.asked = 0
        self.answer: Callable[[], Response] | None = None
        self._folder = folder
        self._made = 0
        self.keys: list[tuple[str, Keys]] = []
        self.add_key()

    @property
    def url(self) -> str:
        """What it is called in tokens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def jwks_url(self) -> str:
        """Where its keys are, as its discovery document says."""
        return f"{self.url}/jwks"

    def settings(self) -> dict[str, object]:
        """Return the settings of a server that trusts this issuer and nobody else."""
        return {
            "app_env": "production",
            "jwt_jwks_url": self.jwks_url,
            "jwt_issuer": self.url,
            "jwt_audience": AUDIENCE,
            "jwt_public_key_path": self._folder / "none.pem",
        }

    def add_key(self) -> None:
        """Make a new key and sign with it; those before stay in the set."""
        self._made += 1
        folder = self._folder / f"issuer-key-{self._made}"
        self.keys.append((f"key {self._made}", Keys(folder)))

    def retire_key(self) -> None:
        """Take the oldest key out of the set."""
        del self.keys[0]

    def token(self, user: str, header: dict[str, Any] | None = None, **claims: object) -> str:
        """Return an access token, signed with the last key."""
        kid, keys = self.keys[-1]
        now = int(time.time())
        own = {"iss": self.url, "aud": [AUDIENCE, "account"], "sub": user, "iat": now, "exp": now + 300}
        profile = {"name": f"Name {user}", "email": f"{user}@example.com", "scope": "openid profile"}
        return jwt.encode({"alg": "RS256", "kid": kid, **(header or {})}, {**own, **profile, **claims}, keys.key)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer for as long as the context lasts."""
        routes = [
            Route("/.well-known/openid-configuration", self._discover),
            Route("/jwks", self._jwks),
            Route("/token", self._log_in, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=self.port, log_config=None, lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            end = time.monotonic() + START_SECONDS
            while not server.started:
                assert time.monotonic() < end, "the issuer did not start"
                time.sleep(OFTEN)
            yield
        finally:
            server.should_exit = True
            thread.join()

    async def _discover(self, _request: Request) -> Response:
        """OpenID Connect Discovery 1.0, section 4."""
        document = {"issuer": self.url, "jwks_uri": self.jwks_url, "token_endpoint": f"{self.url}/token"}
        return JSONResponse({**document, "id_token_signing_alg_values_supported": ["RS256"]})

    async def _jwks(self, _request: Request) -> Response:
        self.asked += 1
        if self.answer is not None:
            return self.answer()
        members = [{**keys.key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, keys in self.keys]
        encryption = {**self.keys[0][1].key.as_dict(private=False), "kid": "enc", "use": "enc", "alg": "RSA-OAEP"}
        return JSONResponse({"keys": [*members, encryption]})

    async def _log_in(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        return JSONResponse({"access_token": self.token(form["username"][0]), "token_type": "Bearer"})
