"""What the two sides of a connection request are told: that it waits, and how it ends without a session."""

from schemas.connections import ConnectionCancelled, ConnectionRejected, ConnectionRequestReceived
from schemas.fields import CancelReason, RejectReason
from stores.model import Peer, Request, User

from handlers.ports import Services


def tell_request(services: Services, request: Request, sender: Peer) -> None:
    """Tell the target of a request. One who is away is told on its return, if the request still waits."""
    received = ConnectionRequestReceived(
        request_id=request.id,
        sender=sender.card,
        session_id=request.session_id,
        role=request.role,
        expires_at=services.clock.timestamp_of(request.expires_at),
    )
    services.delivery.send((request.target,), received, about=request.requester)


def tell_waiting(services: Services, target: User) -> None:
    """Tell a user who is back of the requests that wait for it; its log knows of which it was told before."""
    directory, now = services.stores.directory, services.clock.now()
    for request in directory.requests_of(target):
        sender = directory.peer(request.requester)
        if request.target == target and request.expires_at > now and sender is not None:
            tell_request(services, request, sender)


def reject(services: Services, request: Request, reason: RejectReason | None = None) -> None:
    """Tell the requester that nothing comes of its request."""
    rejected = ConnectionRejected(request_id=request.id, target_id=request.target.id, reason=reason)
    services.delivery.send((request.requester,), rejected, about=request.target)


def tell_cancelled(services: Services, request: Request, reason: CancelReason) -> None:
    """Tell the target that there is nothing to answer any more."""
    services.delivery.send((request.target,), ConnectionCancelled(request_id=request.id, reason=reason))


async def expire(services: Services, request: Request) -> None:
    """Tell both sides that the request has expired; it is removed already."""
    reject(services, request, "expired")
    tell_cancelled(services, request, "expired")


async def cancel(services: Services, request: Request, reason: CancelReason = "cancelled") -> bool:
    """Remove the request and tell the target; False if it was answered or gone before."""
    taken = await services.stores.requests.take(request.id)
    if taken is not None:
        tell_cancelled(services, taken, reason)
    return taken is not None
