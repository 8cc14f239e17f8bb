"""What the examples of events have in common: two peers, their session, and how a moment looks."""

from collections.abc import Mapping
from typing import Any

Example = Mapping[str, Any]
"""`data` of an event as it is on the wire."""

SESSION_ID = "ses_Y2FsbSBkb3duLCBCb2IhIQ"
REQUEST_ID = "req_bm90aGluZyB0byBzZWUgOg"
MESSAGE_ID = "9f1c1f0e-7a0b-4c58-9a6b-2f1f3f6a0c11"
TIMESTAMP = "2026-01-31T09:00:00.000Z"
ANN_PROFILE: Example = {"displayName": "Ann", "role": "host", "ide": "neovim"}
BOB_PROFILE: Example = {"displayName": "Bob", "role": "guest", "ide": "vscode"}
ANN: Example = {"id": "ann", "profile": ANN_PROFILE}
BOB: Example = {"id": "bob", "profile": BOB_PROFILE}
PARTICIPANTS: tuple[Example, ...] = (
    {"id": "ann", "role": "host", "profile": ANN_PROFILE, "connected": True},
    {"id": "bob", "role": "guest", "profile": BOB_PROFILE, "connected": True},
)
