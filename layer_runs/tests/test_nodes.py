"""Nodes under each version: errors for every 100 targets, counted from the runs themselves."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import QueryDict

from layer_runs.filters import LayerRunFilterSet
from layer_runs.fingerprints import fingerprint
from layer_runs.lenses import nodes
from layer_runs.lenses.error_lines import Version, count_lines, lines_of
from layer_runs.lenses.nodes import Work
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)


def select(query: str = "period=30d") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), path="/errors/", now=NOW)


def run(layer: str, version: str, *failing: str, days: float = 1, targets: int = 10, **fields) -> LayerRun:
    errors = [{"topic": "t", "error": "Connection error.", "node": node} for node in failing]
    return LayerRunFactory(
        layer_name=layer,
        layer_hash=version,
        started_at=NOW - timedelta(days=days),
        errors=errors,
        targets_processed=targets - len(errors),
        targets_skipped=len(errors),
        **fields,
    )


def versions(query: str = "period=30d") -> Counter[Version]:
    return count_lines(lines_of(select(query))).versions()


def test_a_rate_is_errors_over_the_targets_of_every_run_of_the_version():
    run("a", "v1", "fetch", "fetch", "store")
    run("a", "v1")
    run("a", "v2", "fetch")
    run("b", "v1", targets=30)
    run("a", "v1", "fetch", days=40)

    found = nodes.worst(versions(), nodes.work_of(select()))

    assert {(rate.version, rate.errors, rate.targets) for rate in found} == {
        (Version("a", "fetch", "v1"), 2, 20),
        (Version("a", "store", "v1"), 1, 20),
        (Version("a", "fetch", "v2"), 1, 10),
    }


@pytest.mark.parametrize(
    "query",
    [
        "period=30d&status=partial",
        f"period=30d&error={fingerprint('fetch', 'Connection error.')}",
        "period=30d&node=fetch",
        "period=30d&topic=t",
        "period=30d&has_errors=1",
        "period=30d&q=connection",
        "period=30d&min_cost=0.1&min_duration=10",
    ],
)
def test_what_became_of_the_runs_does_not_shrink_the_targets(query):
    run("a", "v1", "fetch", status="partial")
    run("a", "v1", status="success", estimated_cost_usd="0")

    (rate,) = nodes.worst(versions(query), nodes.work_of(select(query)))

    assert (rate.errors, rate.targets, rate.per_100) == (1, 20, 5.0)


def test_what_the_runs_were_does():
    run("a", "v1", "fetch", model_name="small")
    run("a", "v1", model_name="large")

    (rate,) = nodes.worst(versions("model_name=small"), nodes.work_of(select("model_name=small")))

    assert rate.targets == 10


def test_the_worst_rate_comes_first_and_one_of_few_targets_last():
    errors = {Version("a", "n", "v1"): 1, Version("b", "n", "v1"): 3, Version("c", "n", "v1"): 9}
    work = {("a", "v1"): Work(2, NOW), ("b", "v1"): Work(20, NOW), ("c", "v1"): Work(90, NOW)}

    found = nodes.worst(errors, work)

    assert [(rate.version.layer, rate.per_100, rate.is_thin) for rate in found] == [
        ("b", 15.0, False),
        ("c", 10.0, False),
        ("a", 50.0, True),
    ]


def test_a_version_without_targets_has_no_rate():
    (rate,) = nodes.worst({Version("a", "n", "v"): 3}, {("a", "v"): Work(0, NOW)})

    assert (rate.per_100, rate.is_thin) == (None, True)


def test_the_versions_of_a_layer_stand_in_the_order_of_their_first_use_also_without_errors():
    run("a", "zz", days=5)
    run("a", "mm", "fetch", "fetch", days=4)
    run("a", "aa", "store", "fetch", days=3)
    run("a", "zz", days=2)
    run("b", "bb", "fetch")

    found = nodes.matrix("a", versions(), nodes.work_of(select()))

    assert found.hashes == ["zz", "mm", "aa"]
    assert [(node, [(rate.errors, rate.targets) for rate in rates]) for node, rates in found.rows] == [
        ("fetch", [(0, 20), (2, 10), (1, 10)]),
        ("store", [(0, 20), (0, 10), (1, 10)]),
    ]


def test_of_many_versions_the_latest_are_shown_and_the_rest_counted():
    for n in range(nodes.VERSIONS_SHOWN + 3):
        run("a", f"v{n}", "fetch", days=20 - n)

    found = nodes.matrix("a", versions(), nodes.work_of(select()))

    assert (found.hashes[0], len(found.hashes), found.hidden) == ("v3", nodes.VERSIONS_SHOWN, 3)


def test_the_layers_of_an_error_add_up_over_nodes_and_versions():
    run("a", "v1", "fetch", "store")
    run("a", "v2", "fetch")
    run("b", "v1", "fetch")
    run("c", "v1")

    found = nodes.by_layer(versions(), nodes.work_of(select()))

    assert [(rate.version.layer, rate.errors, rate.targets) for rate in found] == [("a", 3, 20), ("b", 1, 10)]


def test_a_figure_leads_to_the_runs_of_its_layer_node_and_version():
    run("a", "v1", "fetch", targets=50)
    run("b", "v1", "store", targets=100)

    table = nodes.table(select(), versions(), nodes.work_of(select()), None)
    (worst, url, _layer_url, width), (second, *_links, half) = table["rates"]

    assert (worst.version.layer, width, second.version.layer, half) == ("a", "100.0%", "b", "50.0%")
    wanted = parse_qs(urlsplit(url).query)
    assert wanted == {"period": ["30d"], "layer_name": ["a"], "layer_hash": ["v1"], "node": ["fetch"]}
