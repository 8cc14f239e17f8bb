"""The keys and channels of one deployment.

Keys of one user share a hash tag, and so do those of one shard of the orgs: no script touches two of them.
"""

from urllib.parse import quote
from zlib import crc32

from msgspec import Struct

from stores.model import User

SHARDS = 16


def shard_of(name: str | None) -> int:
    """Return the shard of an org, or of whatever else has a name."""
    return crc32((name or "").encode("utf-8", "surrogatepass")) % SHARDS


class Keyspace(Struct, frozen=True):
    """Several deployments can share a server under different names."""

    name: str

    @property
    def dataset(self) -> str:
        """The key of the dataset id: random, set once, so another one tells that the data was lost."""
        return f"{self.name}:dataset"

    @property
    def salt(self) -> str:
        """The key of what addresses are hashed with."""
        return f"{self.name}:salt"

    @property
    def nodes(self) -> str:
        """The sorted set of nodes: their ids by the time, of Redis, at which their lease runs out."""
        return f"{self.name}:nodes"

    def node(self, node: str) -> str:
        """Return the channel of what is for one node."""
        return f"{self.name}:node:{node}"

    def shard(self, shard: int, kind: str) -> str:
        """Return the key of what a shard has of a kind: a hash of `peers`, `requests`, `sessions` or `places`."""
        return f"{self.name}:{{{shard}}}:{kind}"

    def changes(self, shard: int) -> str:
        """Return the key of a shard's change stream."""
        return self.shard(shard, "changes")

    def revoked_token(self, token_id: str) -> str:
        """Return the key of the revocation of a token, in the shard of its id."""
        return self.shard(shard_of(token_id), f"revoked:{_quoted(token_id)}")

    def revoked_user(self, user: User) -> str:
        """Return the key of the revocation of a user's tokens, in the shard of the user's org."""
        return self.shard(shard_of(user.org), f"revoked:{_name(user)}")

    def state(self, user: User) -> str:
        """Return the key of the hash of a user's claim and log: epoch, holder, top, tokens."""
        return self._user(user, "state")

    def log(self, user: User) -> str:
        """Return the key of the stream of a user's events, by offset."""
        return self._user(user, "log")

    def recent(self, user: User) -> str:
        """Return the key of the sorted set of the requests that a user was told of lately.

        Those of the messages that it got, one for each stream, have names that begin with it.
        """
        return self._user(user, "recent")

    def senders(self, user: User) -> str:
        """Return the key of the sorted set of those who may send to a user, by when they came back."""
        return self._user(user, "recent:senders")

    def _user(self, user: User, kind: str) -> str:
        return f"{self.name}:{{u:{_name(user)}}}:{kind}"


def _name(user: User) -> str:
    return f"{'-' if user.org is None else '=' + _quoted(user.org)}/{_quoted(user.id)}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
