"""The dashboard and the alert rules name what /metrics has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.client import client, pair
from tests.support.server import Server

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "peersync.json"
NAME = re.compile(r"\b(?:peersync|process)_[a-z_]+")
LABEL = re.compile(r"(peersync_[a-z_]+)\{([^}]*)\}")
BY_PROMETHEUS = {"instance", "job", "le"}
SERVER_SIDE = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


@pytest.fixture
async def samples(sharing: Server) -> dict[str, list[dict[str, str]]]:
    """What a server has after some talk: the labels of the samples, by name."""
    async with client(sharing) as ann, client(sharing) as bob:
        await pair(ann, bob)
        text = await anyio.to_thread.run_sync(sharing.metrics)
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


async def test_every_metric_exists(samples: dict[str, list[dict[str, str]]]) -> None:
    """Each metric named in an expression is in the output of a real server."""
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(named) > 20
    assert sorted(named - samples.keys()) == []


async def test_every_label_exists(samples: dict[str, list[dict[str, str]]]) -> None:
    """Each value that an expression picks by a label is there, too."""
    picked = [
        (name, *selector)
        for expression in expressions()
        for name, selectors in LABEL.findall(expression)
        for selector in SERVER_SIDE.findall(selectors)
        if selector[0] not in BY_PROMETHEUS
    ]
    assert len(picked) > 5
    for name, label, operator, value in picked:
        values = {labels[label] for labels in samples[name]}
        assert set(value.split("|") if operator == "=~" else [value]) <= values, (name, label)


async def test_every_metric_is_shown(samples: dict[str, list[dict[str, str]]]) -> None:
    """Whatever the service counts of its own is on the dashboard."""
    shown = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    counted = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in samples if name.startswith("peersync_")}
    assert counted - {re.sub(r"_bucket$", "", name) for name in shown} == set()


def test_rules_say_what_to_do() -> None:
    """Each alert has a severity, says what is the matter, and what to do."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_panels_have_their_places() -> None:
    """No two panels of the dashboard overlap, and each has a number of its own."""
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels()})
