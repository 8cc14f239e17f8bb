"""What the memory stores do beyond the contract."""

from stores.memory.stores import MemoryRevocations
from stores.model import Revocation, User


async def test_expired_revocations_are_forgotten() -> None:
    """Revocations take room only while they count."""
    revocations = MemoryRevocations()
    for now in range(1000):
        await revocations.add(Revocation(expires_at=now + 10, token_id=f"t{now}"), now)
        await revocations.add(Revocation(expires_at=now + 10, user=User(f"u{now}"), issued_before=now), now)
    assert len(revocations._by_key) <= 22
