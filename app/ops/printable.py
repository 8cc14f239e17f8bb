"""Makes untrusted text safe to print on a terminal."""


def printable(text: str) -> str:
    r"""Return text as one line that cannot control a terminal and hides nothing.

    Escapes every character that is not visible, as in `\x1b`, `\n` or `\u202e`: control characters (C0 and C1), line
    separators, and characters that change the direction of text or have no width.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """Return text with each line printable and indented, so that none can pass for a line of the log."""
    return "\n".join(f"  {printable(line)}".rstrip() for line in text.split("\n"))
