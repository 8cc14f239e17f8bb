"""What several nodes count, over real ones."""

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.conftest import Nodes
from tests.cluster.test_nodes import meet
from tests.service.test_resume import resumer
from tests.support.client import client, until
from tests.support.server import Server


def metrics(node: Server) -> dict[str, float]:
    """Return what a node counts, by the names and labels of the samples."""
    families = text_string_to_metric_families(node.metrics())
    samples = [sample for family in families for sample in family.samples]
    return {" ".join((each.name.removeprefix("peersync_"), *each.labels.values())): each.value for each in samples}


async def test_two_nodes(node: Nodes) -> None:
    """Each sees the other, knows all that changed, and has nothing waiting."""
    first, second = node.pair(node_lease_seconds=3)
    await until(lambda: [metrics(each)["nodes"] for each in (first, second)] == [2, 2])
    async with client(first) as ann, resumer(second) as bob:
        session = await meet(ann, bob)
        await ann.send("SEND_MESSAGE", sessionId=session, content="kept")
        assert (await bob.until("MESSAGE_RECEIVED"))["content"] == "kept"
        for told in (metrics(first), metrics(second)):
            assert (told["nodes"], told["lease_held"], told["directory_current"]) == (2, 1, 1)
            assert (told["appends_waiting"], told["registry_entries logs"]) == (0, 1)
            assert abs(told["clock_ahead_seconds"]) < 1


async def test_a_node_is_gone(node: Nodes) -> None:
    """The one that is left sees itself only."""
    first, second = node.pair()
    async with client(first) as ann, resumer(second) as bob:
        await meet(ann, bob)
        second.process.kill()
        await until(lambda: metrics(first)["nodes"] == 1)
