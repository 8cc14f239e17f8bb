"""What a load run tells: its figures as a table, as JSON and as a plot, and a line of progress. No input or output."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from schemas.errors import CloseCode, ErrorCode
from tests.load.bench.latency import Histogram

_COLUMNS = ("round", "messages", "messages/s", "p50", "p90", "p99", "p99.9", "max ms", "cpu us", "errors", "connects/s")
_POINTS_PER_NINE = 10
_LEAST = 1e-6
_HINTS: dict[str, str] = {
    ErrorCode.TOKEN_MISSING: "the server is too busy to read the token in time; try a longer --ramp",
    ErrorCode.TOKEN_INVALID: "use the private key that belongs to the server's public key, or give --token-file",
    ErrorCode.TOKEN_EXPIRED: "give --token-file fresh tokens",
    ErrorCode.PEER_NOT_FOUND: "the two tokens of a pair must have the same org",
    ErrorCode.SUPERSEDED: "each token in --token-file must be for another user",
    ErrorCode.RATE_LIMITED: "restart it without that limit: RATE_LIMIT_EVENTS_PER_SECOND=1000000 bin/serve",
}
_TOO_MANY_FAILURES = "wait a minute, or restart it with AUTH_FAILURES_PER_MINUTE=0 bin/serve"
_CLOSE_HINTS: dict[int, str] = {
    CloseCode.TOO_LARGE: "start the server with a higher MAX_MESSAGE_BYTES, or lower --size",
    CloseCode.UNAUTHENTICATED: "start the server with a higher MAX_UNAUTHENTICATED, or try a longer --ramp",
    CloseCode.TOO_SLOW: "start the server with a higher OUTBOX_BYTES, or lower --window",
    CloseCode.RATE_LIMITED: _HINTS[ErrorCode.RATE_LIMITED],
}


class Plan(Struct, frozen=True, rename="camel"):
    """What to do: `pairs` of sockets at `url`, `window` messages of `size` bytes in flight in each.

    The receivers are at `receivers_url` if that is another node. With `resume` they say now and then what they have
    handled; with `acks` each message asks for one.
    """

    url: str
    pairs: int
    window: int
    size: int
    seconds: float
    ramp: float
    rounds: int
    capabilities: tuple[str, ...] = ()
    receivers_url: str | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The sockets' URLs, each once: that of the senders, then that of the receivers."""
        return tuple(dict.fromkeys((self.url, self.receivers_url or self.url)))


class Figures(Struct, frozen=True, rename="camel"):
    """What was measured in some time; latencies are milliseconds, None where no message came.

    `cpu` is the servers' time on the processor in microseconds a message; None where one does not tell.
    """

    messages: int
    messages_per_second: float
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None
    cpu: float | None
    errors: int


class Report(Struct, frozen=True, rename="camel"):
    """A whole run: each round, and all together."""

    plan: Plan
    connects_per_second: float
    rounds: list[Figures]
    all: Figures


def figures(latencies: Histogram, seconds: float, errors: int, cpu_seconds: float | None = None) -> Figures:
    """Return the figures of what was counted in so many seconds, of which the server worked for `cpu_seconds`."""
    total = latencies.total
    p50, p90, p99, p999, longest = map(latencies.percentile, (0.5, 0.9, 0.99, 0.999, 1.0))
    cpu = None if cpu_seconds is None or not total else cpu_seconds / total * 1e6
    return Figures(total, total / seconds, p50, p90, p99, p999, longest, cpu, errors)


def table(report: Report) -> str:
    """Return a line for each round, if there were several, and one for all."""
    rounds = report.rounds if len(report.rounds) > 1 else []
    named = [*((str(number), each) for number, each in enumerate(rounds, 1)), ("all", report.all)]
    rows = [_COLUMNS, *(_row(name, each, report.connects_per_second) for name, each in named)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def as_json(report: Report) -> str:
    """Return the report as one JSON object."""
    return msgspec.json.encode(report).decode()


def progress_line(connected: int, sockets: int, latencies: Histogram, seconds: float) -> str:
    """Return where things are, with what was counted in the last seconds."""
    rate = latencies.total / seconds
    return f"connected {connected}/{sockets}  {rate:.0f} messages/s  p50 {_milliseconds(latencies.percentile(0.5))} ms"


def refusal(code: str, message: str, *, is_token: bool = False) -> str:
    """Return what the server refused, a token or an event, and what to do about it."""
    hint = _TOO_MANY_FAILURES if is_token and code == ErrorCode.RATE_LIMITED else _HINTS.get(code)
    return f"the server answered {code}: {message}" + (f"; {hint}" if hint else "")


def closing(codes: Counter[int]) -> str:
    """Return how sockets were closed, and what to do about it."""
    counted = ", ".join(f"{count} with code {code}" for code, count in sorted(codes.items()))
    hints = dict.fromkeys(_CLOSE_HINTS[code] for code in sorted(codes) if code in _CLOSE_HINTS)
    return "; ".join((f"the server closed sockets: {counted}", *hints))


def plot(title: str, series: Sequence[tuple[str, Histogram]]) -> bytes:
    """Return an SVG of latency by percentile, each further nine as wide as the one before, latency by powers of ten."""
    import pygal  # type: ignore[import-untyped]  # noqa: PLC0415 - only who plots should wait for it

    shown = [(name, curve(latencies)) for name, latencies in series if latencies.total]
    nines = max((math.ceil(points[-1][0]) for _, points in shown), default=1)
    labels = [{"value": nine, "label": _percent(nine)} for nine in range(nines + 1)]
    chart = pygal.XY(  # whose own logarithmic scale would be one of both axes
        js=[],  # else the picture asks a host on the Internet for a script
        title=title,
        x_title="of messages",
        y_title="ms at most",
        x_labels=labels,
        y_labels=scale([latency for _, points in shown for _, latency in points]),
        value_formatter=lambda power: f"{10**power:.2f} ms",
        dots_size=1,
    )
    for name, points in shown:
        chart.add(name, [(nine, math.log10(latency)) for nine, latency in points])
    rendered: bytes = chart.render()
    return rendered


def curve(latencies: Histogram) -> list[tuple[float, float]]:
    """Return points of nines (1 is 90 %, 2 is 99 %) and milliseconds, as far as the count bears them out."""
    last = int(math.log10(latencies.total) * _POINTS_PER_NINE)
    nines = (step / _POINTS_PER_NINE for step in range(last + 1))
    return [(nine, max(_LEAST, latencies.percentile(1 - 10**-nine) or 0.0)) for nine in nines]


def scale(latencies: Sequence[float]) -> list[dict[str, object]]:
    """Return labels of 1, 2 and 5 times the powers of ten, from the last below all latencies to the first above."""
    low, high = min(latencies, default=1.0), max(latencies, default=1.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    first = max(mark for mark in marks if mark <= low)
    last = min(mark for mark in marks if mark >= high)
    return [{"value": math.log10(mark), "label": f"{mark:g}"} for mark in marks if first <= mark <= last]


def _row(name: str, each: Figures, connects: float) -> tuple[str, ...]:
    times = map(_milliseconds, (each.p50, each.p90, each.p99, each.p999, each.max))
    return (
        *(name, str(each.messages), f"{each.messages_per_second:.0f}"),
        *times,
        "-" if each.cpu is None else f"{each.cpu:.1f}",
        *(str(each.errors), f"{connects:.0f}"),
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(nines: int) -> str:
    return "0 %" if nines == 0 else f"{100 - 100 / 10**nines:.{max(0, nines - 2)}f} %"
