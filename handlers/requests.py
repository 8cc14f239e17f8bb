"""What becomes of a connection request that leads to no session: its other side is told."""

from schemas.connections import ConnectionCancelled, ConnectionRejected
from schemas.fields import RejectReason
from stores.base import Request

from handlers.ports import Services


def reject(services: Services, request: Request, reason: RejectReason | None = None) -> None:
    """Tell the requester that nothing comes of its request."""
    rejected = ConnectionRejected(request_id=request.id, target_id=request.target.id, reason=reason)
    services.delivery.send((request.requester,), rejected, about=request.target)


async def cancel(services: Services, request: Request) -> bool:
    """Take the request back and tell the target; False if it was answered or gone before."""
    taken = await services.stores.requests.take(request.id)
    if taken is not None:
        services.delivery.send((taken.target,), ConnectionCancelled(request_id=taken.id))
    return taken is not None
