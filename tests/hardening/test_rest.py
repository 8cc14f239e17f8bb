"""REST, asked all that its own OpenAPI document allows and forbids: no 5xx, and no answer that is not documented."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.auth.tokens import sign
from app.rest.admin import SCOPE
from tests.support.server import Server, serving
from tests.support.tokens import Keys

FULL = 10_000
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]


@pytest.fixture
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with all that it can have."""
    with serving(keys, tmp_path_factory.mktemp("rest"), admin="on", docs="on", dev_tokens="on") as server:
        yield server


@pytest.mark.parametrize("who", ["nobody", "a user", "an operator"])
def test_rest(who: str, server: Server, scale: Callable[[int], int], report: Callable[[str, int, str], None]) -> None:
    """Every status, content type and body is documented, for good and bad requests, whoever asks."""
    schema = schemathesis.openapi.from_url(f"{server.http}/openapi.json")
    results = list(schema.get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results)
    each = scale(FULL) // 3 // len(operations) + 1
    headers = _headers(who, server.keys)
    statuses: Counter[int] = Counter()

    for operation in operations:

        @seed(1)
        @settings(max_examples=each, deadline=None, database=None, suppress_health_check=QUIET, phases=[Phase.generate])
        @given(case=_good_and_bad(operation))
        def ask(case: Case[Any]) -> None:
            response = case.call_and_validate(headers=headers, checks=CHECKS)
            statuses[response.status_code] += 1

        ask()
    told = ", ".join(f"{times:,} of {status}" for status, times in sorted(statuses.items()))
    report(
        f"REST requests from the OpenAPI document, by {who}",
        statuses.total(),
        f"0 answers of 5xx, 0 undocumented; {told}",
    )
    assert max(statuses) < 500


def _good_and_bad(operation: APIOperation[Any, Any, Any, Any]) -> SearchStrategy[Case[Any]]:
    good, bad = (
        operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    return good | bad


def _headers(who: str, keys: Keys) -> dict[str, str]:
    if who == "nobody":
        return {}
    claims = keys.claims("ann") | ({"scope": SCOPE} if who == "an operator" else {})
    return {"Authorization": f"Bearer {sign(keys.key, claims)}"}
