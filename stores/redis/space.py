"""Where in Redis our keys are. All keys of an org share a hash tag, so that in a Cluster they share a slot."""

from urllib.parse import quote

from msgspec import Struct


class Space(Struct, frozen=True):
    """The keys and channels of one deployment; several can share a server under different names."""

    name: str

    @property
    def changes(self) -> str:
        """The channel where every change of a record is told."""
        return f"{self.name}:changes"

    @property
    def nodes(self) -> str:
        """The sorted set of nodes: their ids by the time, of Redis, at which their lease runs out."""
        return f"{self.name}:nodes"

    @property
    def settled(self) -> str:
        """The hash of in which life of the store each node has written there what it keeps."""
        return f"{self.nodes}:settled"

    @property
    def orgs(self) -> str:
        """The set of the prefixes of all orgs that ever had a record."""
        return f"{self.name}:orgs"

    def node(self, node: str) -> str:
        """Return the channel of what is for one node."""
        return f"{self.name}:node:{node}"

    def revoked(self, token_id: str) -> str:
        """Return the key of the revocation of a token."""
        return f"{self.name}:revoked:{quote(token_id, safe='')}"

    def org(self, org: str | None) -> str:
        """Return what all keys of an org begin with."""
        return f"{self.name}:{{{'-' if org is None else '=' + quote(org, safe='')}}}:"
