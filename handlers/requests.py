"""How a connection request ends without a session: each side is told, as far as it knows of the request."""

from schemas.connections import ConnectionCancelled, ConnectionRejected
from schemas.fields import CancelReason, RejectReason
from stores.base import Request

from handlers.ports import Services


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
