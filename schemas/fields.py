"""Types of fields, with their limits (docs/protocol.md sections 3 and 4)."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

DISPLAY_NAME_MAX = 128
ID_MAX = 256
KEY_MAX = 4096
METADATA_MAX = 2048
LIST_MAX = 64
TEXT_MAX = 64
LISTED = "x-listed"
"""The JSON Schema keyword for the values that a text should have, in what clients send."""
_NO_CONTROLS = r"^(?![\s\S]*[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069])"


def _listed(values: object) -> Meta:
    """Return the limits of a text that should be one of a `Literal`'s values; clients of version 1 send others, too."""
    return Meta(
        min_length=1,
        max_length=TEXT_MAX,
        pattern=_NO_CONTROLS,
        description=f"Without `capabilities` also any other text of 1 to {TEXT_MAX} characters, no control characters.",
        extra_json_schema={LISTED: list(get_args(values))},
    )


def _shown(values: object) -> Meta:
    return Meta(description=f"One of {', '.join(get_args(values))}, or any text of a client of version 1.")


Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX)]
Ids = Annotated[list[Id], Meta(max_length=LIST_MAX)]
Label = Annotated[str, Meta(max_length=ID_MAX)]
DisplayName = Annotated[str, Meta(min_length=1, max_length=DISPLAY_NAME_MAX)]
Ide = Literal["vscode", "cursor", "jetbrains", "vim", "neovim", "emacs", "sublime", "other"]
Role = Literal["host", "guest", "observer"]
ChosenIde = Annotated[str, _listed(Ide)]
ChosenRole = Annotated[str, _listed(Role)]
AnyIde = Annotated[str, _shown(Ide)]
AnyRole = Annotated[str, _shown(Role)]
InvitedRole = Literal["guest", "observer"]
Status = Literal["online", "away", "busy", "offline"]
ChosenStatus = Literal["online", "away", "busy"]
Visibility = Literal["everyone", "hidden"]
Part = Annotated[str, Meta(max_length=DISPLAY_NAME_MAX)]
Limit = Annotated[int, Meta(ge=1)]
Cursor = Annotated[str, Meta(pattern="^[0-9a-f]{1,15}$")]
PublicKey = Annotated[str, Meta(max_length=KEY_MAX)]
Offset = Annotated[int, Meta(ge=0)]
Timestamp = Annotated[str, Meta(description="ISO 8601, UTC, in milliseconds: 24 characters.")]
Labels = Annotated[list[Label], Meta(max_length=LIST_MAX)]
ConnectionMode = Literal["LAN", "REMOTE"]
EndReason = Literal["left", "timeout", "kicked", "ended", "overflow", "revoked"]
ChangeKind = Literal["joined", "left", "kicked", "role", "host", "dropped", "returned"]
RejectReason = Literal["expired", "offline", "full"]
CancelReason = Literal["cancelled", "expired", "offline"]
