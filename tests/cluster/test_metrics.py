"""What several nodes count, over real ones."""

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import meet
from tests.service.test_resume import resumer
from tests.support.client import client, until
from tests.support.server import Server

QUIET = ("publishes_lost_total", "parcels_dropped_total", "kept_writes_total fenced", "users_adopted_total")


def metrics(node: Server) -> dict[str, float]:
    """Return what a node counts, by the names and labels of the samples."""
    families = text_string_to_metric_families(node.metrics())
    samples = [sample for family in families for sample in family.samples]
    return {" ".join((each.name.removeprefix("peersync_"), *each.labels.values())): each.value for each in samples}


async def test_two_nodes(node: Nodes) -> None:
    """Each sees the other, is right, and counts what it sends on and writes; what must not be is 0."""
    first, second = node.pair(node_lease_seconds=3)
    await until(lambda: [metrics(each)["nodes"] for each in (first, second)] == [2, 2])
    async with client(first) as ann, resumer(second) as bob:
        session = await meet(ann, bob)
        before = metrics(first)["messages_forwarded_total"]
        await ann.send("SEND_MESSAGE", sessionId=session, content="kept")
        assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "kept"
        one, two = metrics(first), metrics(second)
        assert one["messages_forwarded_total"] == before + 1
        assert min(one["publishes_total"], two["kept_writes_total written"]) > 0
        for told in (one, two):
            assert (told["nodes"], told["lease_held"], told["replica_current"]) == (2, 1, 1)
            assert [told[name] for name in QUIET] == [0, 0, 0, 0]
            assert abs(told["clock_ahead_seconds"]) < 1


async def test_a_node_is_gone(node: Nodes) -> None:
    """The one that is left counts whom it took over, and itself only."""
    first, second = node.pair()
    async with client(first) as ann, resumer(second) as bob:
        await meet(ann, bob)
        second.process.kill()
        await until(lambda: metrics(first)["nodes"] == 1 and metrics(first)["users_adopted_total"] >= 1)
