"""The load tool: its histogram, what it tells, and short runs against a real server."""

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import anyio
import anyio.to_thread
import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from websockets.sync.server import ServerConnection, serve

from app.settings import read_settings
from peersync.resumption import HANDLED_AT_ONCE
from tests.load.bench.latency import Histogram, bucket, upper_end
from tests.load.bench.report import (
    Plan,
    Report,
    as_json,
    closing,
    curve,
    figures,
    progress_line,
    refusal,
    scale,
    table,
)
from tests.load.bench.run import described, host_of, is_loopback, source_address
from tests.load.bench.tokens import make_tokens
from tests.support.client import client
from tests.support.server import PATH, Server, free_port, serving
from tests.support.tokens import Keys

PATIENCE = 60
PLAN = Plan("ws://127.0.0.1:3000/ws", pairs=50, window=8, size=100, seconds=2, ramp=0, rounds=2)


def counted(*milliseconds: float) -> Histogram:
    """Return a histogram of these latencies."""
    histogram = Histogram()
    for each in milliseconds:
        histogram.record(round(each * 1e6))
    return histogram


@given(st.integers(0, (1 << 42) - 1))
def test_a_bucket_is_never_short_and_at_most_a_64th_too_long(nanoseconds: int) -> None:
    """What is told of a latency is its bucket's upper end."""
    end = upper_end(bucket(nanoseconds))
    assert nanoseconds <= end <= nanoseconds + nanoseconds / 64
    assert bucket(end) == bucket(nanoseconds) == bucket(end + 1) - 1


def test_percentiles_are_by_rank() -> None:
    """A fraction is told by the latency that so many took at most."""
    histogram = counted(*range(1, 1001))
    for fraction, expected in ((0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000)):
        assert histogram.percentile(fraction) == pytest.approx(expected, rel=1 / 64)
    assert histogram.total == 1000


def test_nothing_counted_has_no_percentile() -> None:
    """Nothing is told of nothing."""
    assert Histogram().percentile(0.5) is None


def test_no_latency_is_out_of_bounds() -> None:
    """A clock that jumps breaks nothing, and memory stays as it is."""
    histogram = Histogram()
    buckets = len(histogram.counts)
    histogram.record(-5)
    histogram.record(10**30)
    assert histogram.total == 2
    assert len(histogram.counts) == buckets


def test_a_round_is_the_difference_of_two_copies() -> None:
    """What was counted before does not count, nor does what comes later."""
    histogram = counted(1, 1, 1)
    before = histogram.copy()
    histogram.record(5_000_000)
    latest = histogram.since(before)
    histogram.record(9_000_000)
    assert latest.total == 1
    assert latest.percentile(0.5) == pytest.approx(5, rel=1 / 64)


@pytest.fixture
def report() -> Report:
    """Two rounds, nothing having come in the second."""
    rounds = [figures(counted(1, 2, 3), 2.0, 0, 22.5e-6), figures(Histogram(), 2.0, 1, 1.0)]
    return Report(PLAN, 1234.5, rounds, figures(counted(1, 2, 3), 4.0, 1))


def test_the_table_has_a_line_a_round_and_one_for_all(report: Report) -> None:
    """Columns are aligned to the right, and what was not measured is a dash."""
    lines = table(report).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [" ".join(line.split()) for line in lines] == [
        "round messages messages/s p50 p90 p99 p99.9 max ms cpu us errors connects/s",
        "1 3 2 2.02 3.01 3.01 3.01 3.01 7.5 0 1234",
        "2 0 0 - - - - - - 1 1234",
        "all 3 1 2.02 3.01 3.01 3.01 3.01 - 1 1234",
    ]


def test_json_has_the_plan_and_the_figures(report: Report) -> None:
    """Machines read the same, with nothing rounded and null for a dash."""
    told = json.loads(as_json(report))
    assert told["plan"]["pairs"] == 50
    assert told["connectsPerSecond"] == 1234.5
    assert told["rounds"][0]["messagesPerSecond"] == 1.5
    assert told["rounds"][1]["p999"] is None
    assert told["all"]["errors"] == 1


def test_progress_is_one_line() -> None:
    """Before the first message there is no median."""
    assert progress_line(3, 100, Histogram(), 1.0) == "connected 3/100  0 messages/s  p50 - ms"
    assert progress_line(100, 100, counted(2, 2), 0.5) == "connected 100/100  4 messages/s  p50 2.02 ms"


def test_a_refusal_says_what_to_set() -> None:
    """Where something can be done, it is named."""
    assert refusal("ERR_9001", "Oh") == "the server answered ERR_9001: Oh"
    assert "RATE_LIMIT_EVENTS_PER_SECOND" in refusal("ERR_5004", "Too fast")
    assert "AUTH_FAILURES_PER_MINUTE" in refusal("ERR_5004", "Too many", is_token=True)
    assert closing(Counter({1006: 2})) == "the server closed sockets: 2 with code 1006"
    assert "MAX_MESSAGE_BYTES" in closing(Counter({1006: 2, 1009: 1}))


def test_the_curve_goes_as_far_as_the_count_bears_out() -> None:
    """A hundred messages say nothing of the 99.9th percentile."""
    points = curve(counted(*range(1, 101)))
    assert points[0] == pytest.approx((0, 1), rel=1 / 64)
    assert points[-1] == pytest.approx((2, 99), rel=1 / 64)


def test_what_took_no_time_can_be_drawn() -> None:
    """A clock too coarse to tell gives a latency that has a logarithm."""
    latencies = [latency for _, latency in curve(counted(0, 0))]
    assert latencies
    assert min(latencies) > 0


def test_the_scale_encloses_all_latencies() -> None:
    """It has steps of 1, 2 and 5, and none beyond what is needed."""
    assert [each["label"] for each in scale([0.3, 7.0])] == ["0.2", "0.5", "1", "2", "5", "10"]
    assert [each["label"] for each in scale([])] == ["1"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws:///ws", "127.0.0.1:3000", "ws://[::1", "ws://a:99999/"])
def test_other_urls_are_refused(url: str) -> None:
    """A URL of something else is one line."""
    with pytest.raises(click.ClickException, match="--url"):
        host_of(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:3000/ws", True),
        ("ws://localhost/ws", True),
        ("wss://[::1]:3000/ws", True),
        ("ws://127.0.0.1.example.com/ws", False),
        ("ws://localhost.example.com/ws", False),
        ("ws://127.0.0.1@example.com/ws", False),
        ("ws://10.0.0.1/ws", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, expected: object) -> None:
    """Whatever might be another machine counts as one."""
    assert is_loopback(host_of(url)) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_many_pairs_come_from_several_addresses() -> None:
    """One address has too few ports for forty thousand sockets."""
    assert source_address("127.0.0.1", 9_999) is None
    assert source_address("127.0.0.1", 10_000) == ("127.0.0.2", 0)
    assert source_address("::1", 10_000) is None


def test_errors_are_described() -> None:
    """An error without a text is told by its name."""
    assert described(ConnectionRefusedError()).startswith("connection refused")
    assert described(OSError(24, "Too many open files")) == "Too many open files"
    assert described(TimeoutError()) == "TimeoutError"


@pytest.fixture(scope="module")
def fast(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that lets everything pass."""
    folder = tmp_path_factory.mktemp("bench")
    with serving(keys, folder, rate_limit_events_per_second=1_000_000) as server:
        yield server


def run(keys: Keys, url: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the load tool with two pairs, to its end."""
    command = [sys.executable, "-m", "tests.load", "bench", "--url", url, "--pairs", "2", "--seconds", "0.5", *options]
    environment = {**os.environ, **keys.environment(), "PYTHONPATH": PATH}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def fails(done: "subprocess.CompletedProcess[str]", reason: str) -> None:
    """See a run end with one line of error, after those of progress."""
    assert done.returncode == 1, done
    *progress, error = done.stderr.splitlines()
    assert all(line.startswith("connected ") for line in progress), done.stderr
    assert error.startswith("Error: ")
    assert reason in error


def test_a_short_run(keys: Keys, fast: Server, tmp_path: Path) -> None:
    """Messages flow, and are told on standard output, as JSON and in a picture."""
    picture = tmp_path / "bench.svg"
    done = run(keys, fast.url, "--json", "--rounds", "2", "--ramp", "0.2", "--size", "30", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("connected 4/4")
    told = json.loads(done.stdout)
    assert len(told["rounds"]) == 2
    assert all(each["messages"] > 0 for each in told["rounds"])
    assert told["all"]["messages"] >= sum(each["messages"] for each in told["rounds"])
    assert told["all"]["errors"] == 0
    assert 0 < told["all"]["p50"] <= told["all"]["p99"] <= told["all"]["max"]
    svg = picture.read_bytes()
    text = " ".join(ET.fromstring(svg).itertext())
    assert "2 pairs, 8 messages of 30 bytes in flight in each" in text
    assert "90 %" in text
    assert b"href=" not in svg, "a picture that asks the network"


def test_capabilities(keys: Keys, fast: Server) -> None:
    """Events can be asked for with numbers, and messages with acknowledgements, which cost the server something."""
    done = run(keys, fast.url, "--json", "--resume", "--acks", "--seconds", "1.1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["plan"]["capabilities"] == ["resume", "acks"]
    assert told["all"]["cpu"] > 0
    metrics = fast.metrics()
    handled = re.search(r'peersync_events_total\{event="PING",outcome="handled"\} (\S+)', metrics)
    assert handled is not None, metrics
    assert float(handled[1]) >= told["all"]["messages"] // HANDLED_AT_ONCE // 2


def test_an_org_of_their_own(keys: Keys) -> None:
    """The peers of a run have an org that nobody else is in, and each run has another."""
    settings = read_settings(keys.environment(), None)
    runs = [
        [jwt.decode(token, keys.key, algorithms=["RS256"]).claims for token in make_tokens(settings, 2)] for _ in "ab"
    ]
    first, second = ({claims["org"] for claims in run} for run in runs)
    assert (len(first), len(second), len(first | second)) == (1, 1, 2)


async def test_nobody_is_told(keys: Keys, fast: Server, tmp_path: Path) -> None:
    """Who uses the server meanwhile hears nothing of the run, even in the same org."""
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{keys.token(f'hidden-{number}')}\n" for number in range(4)))
    async with client(fast) as ann:
        await ann.join("ann")
        done = await anyio.to_thread.run_sync(run, keys, fast.url, "--token-file", str(tokens))
        assert done.returncode == 0, done.stderr
        await ann.send("PING")
        await ann.expect("PONG")


def test_tokens_of_a_file(keys: Keys, fast: Server, tmp_path: Path) -> None:
    """Whoever has no private key brings tokens; too few are refused."""
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{keys.token(f'file-{number}')}\n" for number in range(4)))
    done = run(keys, fast.url, "--token-file", str(tokens))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-11] == "all"
    fails(run(keys, fast.url, "--pairs", "3", "--token-file", str(tokens)), "has 4 tokens, but 3 pairs need 6")
    tokens.write_text("nonsense\n" * 4)
    fails(run(keys, fast.url, "--token-file", str(tokens)), "ERR_1002")


def test_a_rate_limit_is_named(keys: Keys, tmp_path: Path) -> None:
    """A server with a limit is not measured, and the setting to change is told."""
    with serving(keys, tmp_path, rate_limit_events_per_second=20, rate_limit_burst=20) as limited:
        fails(run(keys, limited.url), "RATE_LIMIT_EVENTS_PER_SECOND")


def test_what_cannot_begin_is_one_line(keys: Keys, fast: Server) -> None:
    """No server, no such path, another machine, no folder for the picture."""
    fails(run(keys, f"ws://127.0.0.1:{free_port()}/ws"), "connection refused; is bin/serve running?")
    fails(run(keys, f"{fast.url}/nope"), "404")
    fails(run(keys, "ws://192.0.2.1/ws"), "--i-may-load-this-host")
    fails(run(keys, fast.url, "--plot", "/nowhere/bench.svg"), "there is no folder /nowhere")


def test_a_server_that_speaks_otherwise_is_one_line(keys: Keys) -> None:
    """Frames that are no events, and closes before anything was measured."""

    def talk(websocket: ServerConnection) -> None:
        websocket.recv()
        websocket.send("hello")

    def hang_up(websocket: ServerConnection) -> None:
        websocket.recv()
        websocket.close(1012)

    for handler, reason in ((talk, "cannot be decoded"), (hang_up, "1 with code 1012")):
        with serve(handler, "127.0.0.1", 0) as server:
            port = server.socket.getsockname()[1]
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            fails(run(keys, f"ws://127.0.0.1:{port}/ws"), reason)
            server.shutdown()
            thread.join()


def test_sockets_lost_on_the_way_are_told(keys: Keys, tmp_path: Path) -> None:
    """A server that goes away meanwhile is told as such."""
    with serving(keys, tmp_path, rate_limit_events_per_second=1_000_000) as server:
        command = [sys.executable, "-m", "tests.load", "bench", "--url", server.url, "--pairs", "2", "--seconds", "600"]
        environment = {**os.environ, **keys.environment(), "PYTHONPATH": PATH}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("connected 4/4")
            server.process.terminate()
            _, error = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert "the server closed sockets: 4 with code 1012" in error
