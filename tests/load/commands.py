"""The load tools, as a person starts them."""

from pathlib import Path

import click

from app.cli.address import address
from app.cli.group import OneLineErrors
from app.settings import read_settings
from tests.load.bench.tokens import make_tokens, read_tokens


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Load tools of PeerSync Dev Connect."""


@main.command()
@click.option("--url", help="The URL of the server's socket; by default, the server of the settings on this machine.")
@click.option(
    "--pairs", type=click.IntRange(1, 20_000), default=50, show_default=True, help="The number of pairs of peers."
)
@click.option(
    "--window",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Messages on their way at once, in each pair.",
)
@click.option(
    "--size", type=click.IntRange(20, 1_000_000), default=100, show_default=True, help="The size of a message in bytes."
)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=5, show_default=True, help="The length of a round.")
@click.option(
    "--ramp",
    type=click.FloatRange(0, 600),
    default=0,
    show_default=True,
    help="The seconds over which the pairs connect.",
)
@click.option("--rounds", type=click.IntRange(1, 20), default=1, show_default=True, help="The number of rounds.")
@click.option("--resume", is_flag=True, help="Ask the server to number and keep events, as clients of protocol 1.1 do.")
@click.option("--acks", is_flag=True, help="Ask for an acknowledgement of each message.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="An SVG file to plot the latencies in.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file of access tokens, one a line; by default, tokens are signed with the private key.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object, with latencies in milliseconds.")
@click.option("--i-may-load-this-host", is_flag=True, help="Allow a server that is not on this machine.")
def bench(  # noqa: PLR0917 - click passes them by name
    url: str | None,
    pairs: int,
    window: int,
    size: int,
    seconds: float,
    ramp: float,
    rounds: int,
    plot: Path | None,
    token_file: Path | None,
    *,
    resume: bool,
    acks: bool,
    as_json: bool,
    i_may_load_this_host: bool,
) -> None:
    """Measure a server: pairs of peers send messages as fast as it delivers them.

    Prints messages a second and percentiles of latency in milliseconds. Start the server with
    RATE_LIMIT_EVENTS_PER_SECOND=1000000, and for large messages with a higher RATE_LIMIT_BYTES_PER_SECOND.
    """
    try:
        from tests.load.bench.report import Plan  # noqa: PLC0415
        from tests.load.bench.run import host_of, is_loopback, run  # noqa: PLC0415 - needs requirements/bench.txt
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} was not found; install requirements/bench.txt, as bin/bench does"
        ) from None

    settings = read_settings()
    is_own = url is None
    url, tls = address(url, settings)
    if not (is_own or is_loopback(host_of(url)) or i_may_load_this_host):
        raise click.ClickException(
            f"{url} is not on this machine; if you are allowed to load it, add --i-may-load-this-host"
        )
    if plot is not None and not plot.parent.is_dir():
        raise click.ClickException(f"--plot is {str(plot)!r}; there is no folder {plot.parent}")

    def tokens() -> list[str]:
        return read_tokens(token_file, 2 * pairs) if token_file else make_tokens(settings, 2 * pairs)

    capabilities = tuple(name for name, is_wanted in (("resume", resume), ("acks", acks)) if is_wanted)
    plan = Plan(url, pairs, window, size, seconds, ramp, rounds, capabilities)
    run(plan, tokens, json=as_json, picture=plot, tls=tls)


@main.command()
@click.option(
    "--pairs", type=click.IntRange(1, 2000), default=50, show_default=True, help="The number of pairs of peers."
)
@click.option(
    "--window",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Messages on their way at once, in each pair.",
)
@click.option(
    "--size", type=click.IntRange(20, 1_000_000), default=100, show_default=True, help="The size of a message in bytes."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3, show_default=True, help="The length of each measurement."
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 20),
    default=3,
    show_default=True,
    help="The number of rounds; the median is printed.",
)
def bench_nodes(pairs: int, window: int, size: int, seconds: float, rounds: int) -> None:
    """Measure what messages across nodes cost: two nodes and a Redis of its own, against one node."""
    try:
        from tests.load.bench.nodes import run  # noqa: PLC0415 - needs requirements/bench.txt
        from tests.load.bench.report import Plan  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} was not found; install requirements/bench.txt, as bin/bench-nodes does"
        ) from None
    run(Plan("", pairs, window, size, seconds, 0, rounds))


@main.command()
@click.option("--peers", type=click.IntRange(2, 5000), default=500, show_default=True, help="The number of peers.")
@click.option("--minutes", type=click.FloatRange(0, 1440), default=30, show_default=True, help="The length of the run.")
@click.option(
    "--acts", type=click.IntRange(1), help="End after this many acts of all peers together, if that is sooner."
)
@click.option(
    "--pause",
    type=click.FloatRange(0.001, 60),
    default=2,
    show_default=True,
    help="The mean seconds between two acts of a peer.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The seed of the random numbers.")
def soak(peers: int, minutes: float, acts: int | None, pause: float, seed: int) -> None:
    """Soak a server of its own: peers connect, talk, drop, resume and leave at random.

    Fails if a message is lost or the server's memory keeps growing.
    """
    try:
        from tests.load.soak.run import run  # noqa: PLC0415 - needs requirements/bench.txt
        from tests.load.soak.world import Plan  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} was not found; install requirements/bench.txt, as bin/soak does"
        ) from None
    run(Plan(peers, minutes, pause, seed, acts))
