"""What a check of the doctor found."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """What one check found; if it is `wrong` or a `note`, the text also says what to do."""

    subject: str
    text: str
    level: Literal["ok", "note", "wrong"] = "ok"

    @property
    def is_wrong(self) -> bool:
        """Whether the server cannot do its work like this."""
        return self.level == "wrong"

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.level:<6} {self.subject:<9} {self.text}"


def note(subject: str, text: str) -> Finding:
    """Return what will do for now, but may need something done."""
    return Finding(subject, text, "note")


def wrong(subject: str, text: str) -> Finding:
    """Return what is not as it must be."""
    return Finding(subject, text, "wrong")
