"""Text that others chose, made safe for a person's terminal."""


def printable(text: str) -> str:
    r"""Return text that does nothing to a terminal and shows all that it holds, as one line.

    Whatever is not plainly visible becomes an escape such as `\x1b`, `\n` or `\u202e`: control characters (C0 and C1),
    line separators, and characters that turn the direction of text or have no width.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """Do so for each line, indented, so that no line of it passes for one of the log."""
    return "\n".join(f"  {printable(line)}".rstrip() for line in text.split("\n"))
