"""What a check of the doctor found."""

from msgspec import Struct


class Finding(Struct, frozen=True):
    """What one check found; if it `is_wrong`, the text also says what to do."""

    subject: str
    text: str
    is_wrong: bool = False

    def __str__(self) -> str:
        """Return one line."""
        return f"{'wrong' if self.is_wrong else 'ok':<6} {self.subject:<9} {self.text}"


def wrong(subject: str, text: str) -> Finding:
    """Return what is not as it must be."""
    return Finding(subject, text, is_wrong=True)
