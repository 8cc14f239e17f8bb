"""What a soak tells: a line of progress, the figures, and whether they are good. No input or output here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

from tests.load.soak.checks import Faults

LEVEL_FROM, LEVEL_UNTIL = 240.0, 300.0  # seconds: by then memory has levelled off
LAST_SECONDS = 60.0
TOLERANCE = 0.10
_MIB = 1_048_576


class Sample(Struct, frozen=True):
    """The server's process at a time, in seconds since the soak began: bytes resident, seconds of CPU, open files."""

    at: float
    rss: float
    cpu: float
    files: int


class Verdict(Struct, frozen=True):
    """Memory where it levelled off and at the end, in bytes."""

    level: float
    end: float

    @property
    def growth(self) -> float:
        """By which part of it memory grew."""
        return self.end / self.level - 1

    @property
    def is_good(self) -> bool:
        """Whether memory stayed where it was."""
        return self.growth <= TOLERANCE


def verdict(samples: Sequence[Sample]) -> Verdict | None:
    """Compare the median of the fifth minute with that of the last; None if the run was too short to tell."""
    last = samples[-1].at if samples else 0.0
    if last < LEVEL_UNTIL + LAST_SECONDS:
        return None
    level = median(sample.rss for sample in samples if LEVEL_FROM <= sample.at < LEVEL_UNTIL)
    return Verdict(level, median(sample.rss for sample in samples if sample.at > last - LAST_SECONDS))


def troubles(memory: Verdict | None, faults: Faults, left_behind: Mapping[str, float]) -> list[str]:
    """Return which rules were broken; nothing if all is well."""
    found = []
    if memory is not None and not memory.is_good:
        found.append(f"memory grew by {memory.growth:.1%} after minute 5; {TOLERANCE:.0%} is allowed")
    if faults.counts:
        found.append(f"faults: {faults.counts.total()}")
    if left_behind:
        found.append(f"left behind: {', '.join(f'{name} {value:g}' for name, value in left_behind.items())}")
    return found


def progress_line(sample: Sample, before: Sample, gauges: Mapping[str, float], tally: Mapping[str, int]) -> str:
    """Return where things are; the share of a core is that since the sample before."""
    sockets = sum(value for name, value in gauges.items() if name.startswith("sockets "))
    registered = gauges.get("sockets registered", 0)
    share = (sample.cpu - before.cpu) / max(sample.at - before.at, 1e-9)
    return (
        f"minute {sample.at / 60:.1f}  rss {_mib(sample.rss)} MiB  cpu {share:.0%}  sockets {sockets:.0f}  "
        f"registered {registered:.0f}  sessions {tally['sessions']}  messages {tally['messages']}  "
        f"resumes {tally['recovered']}/{tally['refused']}  errors {tally['faults']}"
    )


def report(samples: Sequence[Sample], memory: Verdict | None, faults: Faults, tally: Counter[str]) -> str:
    """Return the figures of a run, a line each."""
    first, last = samples[0], samples[-1]
    seconds = max(last.at - first.at, 1e-9)
    lines = [
        f"{seconds / 60:.1f} minutes, {tally['acts']} acts, {tally['connections']} connections",
        f"messages: {tally['messages']} sent, {tally['received']} received",
        f"acknowledged: {tally['acknowledged']}, {tally['duplicates']} of them for messages that were sent again",
        f"resumes: {tally['recovered']} recovered, {tally['refused']} refused",
        f"cpu of the server: {(last.cpu - first.cpu) / seconds:.0%} of a core",
        _memory_line(samples, memory),
        *(f"{kind} ({count}): {faults.examples[kind]}" for kind, count in faults.counts.items()),
    ]
    return "\n".join(lines)


def _memory_line(samples: Sequence[Sample], memory: Verdict | None) -> str:
    peak = f"at most {_mib(max(sample.rss for sample in samples))}"
    if memory is None:
        return f"memory: {_mib(samples[-1].rss)} MiB, {peak}; the run was too short to tell whether it levels off"
    return f"memory: {_mib(memory.level)} MiB in minute 5, {_mib(memory.end)} at the end ({memory.growth:+.1%}), {peak}"


def _mib(size: float) -> str:
    return f"{size / _MIB:.1f}"
