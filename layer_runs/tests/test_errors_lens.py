"""What the Errors lens computes: compared with the same errors counted one by one from the JSON of the runs."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from layer_runs.buckets import buckets
from layer_runs.filters import LayerRunFilterSet
from layer_runs.fingerprints import fingerprint
from layer_runs.lenses import errors as lens
from layer_runs.lenses.causes import Sightings, fold, groups_of
from layer_runs.lenses.error_lines import count_lines, lines_of
from layer_runs.lenses.error_rows import order_of, samples
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
REFUSED, BUSY, SLOW = (
    "Connection error.",
    "Error code: 529 - {'error': {'message': 'Overloaded'}}",
    "Request timed out.",
)


def error(message: str = REFUSED, topic: str = "t:1", node: str = "reflect") -> dict[str, str]:
    return {"topic": topic, "error": message, "node": node}


def run(*errors: dict[str, str], days: float = 0.5, layer: str = "a", **fields) -> LayerRun:
    started = NOW - timedelta(days=days)
    status = "partial" if errors else "success"
    return LayerRunFactory(
        **{"layer_name": layer, "started_at": started, "errors": list(errors), "status": status} | fields
    )


def select(query: str = "period=30d") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), path="/errors/", now=NOW)


def report(query: str = "period=30d", zone=UTC, **options) -> dict:
    selection = select(query)
    bounds = LayerRun.objects.started_bounds()
    return lens.report(selection, buckets(selection.window, bounds, NOW, zone), bounds, zone, **options)


def row_of(message: str, node: str = "reflect", query: str = "period=30d") -> dict:
    rows = [row for row in report(query)["rows"] if row.get("fingerprint") == fingerprint(node, message)]
    return rows[0]


@pytest.fixture
def many_runs() -> list[LayerRun]:
    """Four layers over 70 days: three messages at two nodes, with numbers that differ and without a target at times."""
    for n in range(90):
        made = [
            error(
                (REFUSED, BUSY, f"Prompt is too long: {n * k} tokens > 200000 maximum")[(n + k) % 3],
                topic="" if (n + k) % 11 == 0 else f"t:{n * k % 7}",
                node=("reflect", "generate")[n * k % 2],
            )
            for k in range(n % 4)
        ]
        run(*made, days=n * 0.77, layer="abcd"[n % 4], layer_hash=f"v{n // 40}")
    return list(LayerRun.objects.all())


def lines_in(runs: list[LayerRun], since: datetime) -> list[tuple[LayerRun, dict[str, str]]]:
    return [(each, made) for each in runs if each.started_at >= since for made in each.errors]


# --- groups and causes


def test_every_group_adds_up_to_the_errors_its_runs_keep(many_runs):
    since = select().window.since
    expected = defaultdict(lambda: {"errors": 0, "runs": set(), "targets": set(), "layers": Counter()})
    for each, made in lines_in(many_runs, since):
        group = expected[fingerprint(made["node"], made["error"])]
        group["errors"] += 1
        group["runs"].add(each.pk)
        group["targets"] |= {made["topic"]} - {""}
        group["layers"][each.layer_name] += 1

    counted = count_lines(lines_of(select()))
    found = {group.fingerprint: group.tally for group in groups_of(counted, select().window)}

    assert len(found) == 6
    assert {
        key: {
            "errors": tally.errors,
            "runs": set(tally.runs),
            "targets": set(tally.targets),
            "layers": Counter(tally.layers),
        }
        for key, tally in found.items()
    } == expected


def test_a_message_at_two_nodes_is_two_groups_and_one_cause():
    run(error(node="reflect", topic="t:1"), error(node="generate", topic="t:1"), error(node="generate", topic="t:2"))
    run(error(node="reflect", topic="t:3"), error(SLOW))

    shown = report()

    assert (shown["causes"], shown["groups"], shown["errors"], shown["runs"]) == (2, 3, 5, 2)
    cause, *nodes = shown["rows"][:3]
    # The run and the target that both nodes share count once.
    assert (cause["errors"], cause["runs"], cause["targets"]) == (4, 2, 3)
    assert {(row["fingerprint"], row["errors"], row["runs"], row["targets"]) for row in nodes} == {
        (fingerprint("generate", REFUSED), 2, 1, 2),
        (fingerprint("reflect", REFUSED), 2, 2, 2),
    }
    assert [row["fingerprint"] for row in shown["rows"][3:]] == [fingerprint("reflect", SLOW)]


def test_errors_that_differ_in_a_figure_are_one_cause_and_in_a_code_are_two():
    run(error("Error code: 429 - slow down for 17 s"), error("Error code: 429 - slow down for 4 s", node="generate"))
    run(error("Error code: 529 - slow down for 17 s"))

    assert sorted(row["errors"] for row in report()["rows"] if "cause" in row) == [1, 2]


def test_a_cause_says_what_its_newest_error_said():
    run(error("Prompt is too long: 5 tokens", node="a"), days=1)
    run(error("Prompt is too long: 7 tokens", node="b"), days=2)

    (cause,) = fold(groups_of(count_lines(lines_of(select())), select().window))

    assert cause.newest.title == "Prompt is too long: 5 tokens"


def test_the_columns_over_time_of_each_row_add_up_to_its_errors_and_share_one_scale(many_runs):
    selection = select()
    cut = buckets(selection.window, LayerRun.objects.started_bounds(), NOW, UTC)
    counted = count_lines(lines_of(selection), cut)
    days = Counter(each.started_at.date() for each, _made in lines_in(many_runs, selection.window.since))

    causes = fold(groups_of(counted, selection.window))

    assert all(sum(cause.tally.spark) == cause.tally.errors for cause in causes)
    sums = [sum(column) for column in zip(*(cause.tally.spark for cause in causes), strict=True)]
    assert dict(zip((bucket.start.date() for bucket in cut), sums, strict=True)) == {
        bucket.start.date(): days[bucket.start.date()] for bucket in cut
    }
    top = max(max(cause.tally.spark) for cause in causes)
    drawn = [bar for row in report()["rows"] if "cause" in row for bar in row["spark"].bars]
    assert max(float(bar.height) for bar in drawn) == 23 and top > 1


def test_errors_without_a_message_or_a_node_are_a_group_too():
    run({"topic": "", "error": "", "node": ""}, error(""))

    rows = [row for row in report()["rows"] if "fingerprint" in row]

    assert sorted(row["node"] for row in rows) == ["", "reflect"]
    assert [row["targets"] for row in rows if not row["node"]] == [0]


def test_rows_are_sorted_by_what_is_asked_for(many_runs):
    run(error("alone"), days=0.1)

    def causes(order: str) -> list[dict]:
        return [row for row in report(order=order)["rows"] if "cause" in row]

    assert [row["errors"] for row in causes("")] == sorted((row["errors"] for row in causes("")), reverse=True)
    assert [row["runs"] for row in causes("runs")] == sorted(row["runs"] for row in causes("runs"))
    assert causes("-last_seen")[0]["title"] == "Alone"
    assert order_of("-nonsense") == order_of("") == "-errors"


def test_sample_runs_are_the_newest_of_as_many_layers_as_there_are():
    for days, layer in ((0.1, "a"), (0.2, "a"), (0.3, "a"), (0.4, "b"), (0.5, "a"), (0.6, "b")):
        run(error(), days=days, layer=layer, id=f"{layer}{days}")
    counted = count_lines(lines_of(select()))
    (tally,) = counted.groups().values()

    assert [each.pk for each in samples(tally, counted.runs)] == ["a0.1", "a0.2", "b0.4"]


def test_more_groups_than_a_page_holds_are_counted_and_left_to_the_file(monkeypatch):
    monkeypatch.setattr(lens, "GROUPS_SHOWN", 2)
    run(error(), error(), error(SLOW), error(SLOW), error(BUSY))

    shown = report()

    assert (shown["groups"], shown["hidden"], len(shown["rows"])) == (3, 1, 2)
    # What is not in a row still counts.
    assert shown["errors"] == 5
    assert len(list(lens.csv_rows(select()))) == 3


# --- when it was seen


def test_first_and_last_seen_are_over_all_time_and_all_runs():
    run(error(), days=300, layer="b")
    run(error(), days=20, layer="a")
    run(error(), days=1, layer="b")

    row = row_of(REFUSED, query="layer_name=a&since=2026-11-01&until=2026-11-10")

    assert (row["first_seen"], row["last_seen"]) == (NOW - timedelta(days=300), NOW - timedelta(days=1))
    assert row["errors"] == 1


@pytest.mark.parametrize(
    ("before", "inside", "query", "is_new", "away"),
    [
        (None, 0.5, "period=7d", True, 0),
        (None, 0.5, "period=all", False, 0),
        (None, 2, "until=2026-11-21", False, 0),
        (8, 0.5, "period=7d", False, 8),
        (7, 0.5, "period=7d", False, 7),
        (7, 1.5, "period=7d", False, 0),
        (90, 5, "period=7d", False, 85),
        # The window may be shorter than a week: that is no way to come back sooner.
        (3, 0.2, "period=24h", False, 0),
        (40, 3, "period=30d", False, 37),
        (31, 26, "period=30d", False, 0),
    ],
)
def test_an_error_is_new_or_back_after_a_week_or_more(before, inside, query, is_new, away):
    run(days=100)
    for days in filter(None, (before, inside)):
        run(error(), days=days)

    row = row_of(REFUSED, query=query)

    assert (row["is_new"], row["days_away"]) == (is_new, away)


@pytest.mark.parametrize(("oldest", "is_new"), [(7.6, True), (6, False)])
def test_nothing_is_called_new_where_no_run_is_older_than_the_window(oldest, is_new):
    run(days=oldest)
    run(error(), days=1)

    assert row_of(REFUSED, query="period=7d")["is_new"] is is_new


def test_a_cause_is_called_new_once_and_not_again_at_each_of_its_nodes():
    run(days=20)
    run(error(node="a"), error(node="b"), error(SLOW), days=1)

    said = [(row["title"], row.get("is_under", False)) for row in report("period=7d")["rows"] if row["is_new"]]

    assert sorted(said) == [("Connection error", False), ("Request timed out", False)]


def test_the_days_away_are_days_of_the_zone_whatever_the_hour():
    before, inside = (datetime(2026, 11, day, hour, tzinfo=UTC) for day, hour in ((10, 4), (17, 3)))
    seen = Sightings(before, inside, before, inside)

    assert (seen.days_away(UTC), seen.days_away(ZoneInfo("America/Anchorage"))) == (7, 7)
    # Four hours behind, the second is still a night earlier: six days are no week.
    assert seen.days_away(ZoneInfo("Etc/GMT+4")) == 0


def test_a_cause_is_back_from_the_last_sighting_at_any_of_its_nodes():
    run(error(node="a"), days=40)
    run(error(node="b"), days=12)
    run(error(node="a"), days=3)
    run(error(node="b"), days=1)

    cause = next(row for row in report("period=7d")["rows"] if "cause" in row)

    assert cause["days_away"] == 9
    assert {row_of(REFUSED, node, "period=7d")["days_away"] for node in "ab"} == {37, 11}


# --- the lines of a selection


def test_under_an_error_only_its_own_lines_count():
    run(error(topic="t:1"), error(SLOW, topic="t:2"), error(BUSY, topic="t:3", node="generate"))
    run(error(SLOW, topic="t:1"), layer="b")

    shown = report(f"error={fingerprint('reflect', SLOW)}")

    assert (shown["errors"], shown["runs"], shown["groups"]) == (2, 2, 1)
    assert [(target.topic, target.errors) for target, _url in shown["targets"]["rows"]] == [("t:1", 1), ("t:2", 1)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("node=generate", [("generate", BUSY)]),
        ("topic=t:1", [("reflect", REFUSED), ("reflect", SLOW)]),
        (f"error={fingerprint('reflect', SLOW)}&topic=t:1", [("reflect", SLOW)]),
        (f"exclude_error={fingerprint('generate', BUSY)}", [("reflect", SLOW)]),
        # What a run is found by does not choose among its errors.
        ("q=overload", [("generate", BUSY), ("reflect", REFUSED), ("reflect", SLOW)]),
        ("layer_name=b", [("reflect", SLOW)]),
        ("status=success", []),
        ("error=unknown", []),
    ],
)
def test_the_lines_are_those_that_the_selection_names(query, expected):
    run(error(topic="t:1"), error(SLOW, topic="t:2"), error(BUSY, topic="t:3", node="generate"))
    run(error(SLOW, topic="t:1"), layer="b")
    run()

    lines = lines_of(select(query)).values_list("node", "message").distinct().order_by("node", "message")

    assert list(lines) == sorted(expected)


def test_runs_that_failed_and_left_no_error_are_counted():
    run(error(), status="failed")
    run(status="failed")
    run(status="crashed")
    run(status="crashed", days=40)
    run()

    silent = report()["silent"]

    assert silent["text"] == "2 failed or crashed runs left no error"
    assert parse_qs(urlsplit(silent["url"]).query) == {
        "period": ["30d"],
        "status": ["failed", "crashed"],
        "has_errors": ["0"],
    }
    assert report("period=30d&status=crashed")["silent"]["text"] == "1 failed or crashed run left no error"
    assert report("period=30d&status=success")["silent"] is None
    assert report("period=30d&has_errors=1")["silent"] is None
    assert report(f"period=30d&error={fingerprint('reflect', REFUSED)}")["silent"] is None


# --- one group


def test_an_open_group_says_in_a_sentence_how_much_it_was(many_runs):
    since = select().window.since
    chosen = [
        (each, made)
        for each, made in lines_in(many_runs, since)
        if (made["node"], made["error"]) == ("generate", REFUSED)
    ]
    runs = {each.pk for each, _made in chosen}
    days = {each.started_at.date() for each, _made in chosen}
    layers = {each.layer_name for each, _made in chosen}

    group = report(f"period=30d&error={fingerprint('generate', REFUSED)}")["group"]

    assert group["sentence"] == (
        f"{len(chosen)} errors in {len(runs)} runs of {len(layers)} layer{'s' if len(layers) > 1 else ''},"
        f" on {len(days)} days."
    )
    assert {each.pk for each, _errors, _url in group["runs"]} == runs
    assert sum(errors for _run, errors, _url in group["runs"]) == len(chosen)
    assert sum(rate.errors for rate, _url in group["layers"]) == len(chosen)


def test_a_group_shows_its_newest_runs_first_and_counts_them_all(monkeypatch):
    monkeypatch.setattr("layer_runs.lenses.error_group.RUNS_SHOWN", 2)
    for days in (3, 1, 2):
        run(error(node="a"), error(node="b"), error(SLOW), days=days, id=f"run{days}")

    both = "&".join(f"error={fingerprint(node, REFUSED)}" for node in "ab")
    group = report(f"period=30d&{both}")["group"]

    assert [(each.pk, errors) for each, errors, _url in group["runs"]] == [("run1", 2), ("run2", 2)]
    assert group["runs_count"] == 3


def test_two_errors_of_two_causes_are_a_list_and_no_group():
    run(error(), error(SLOW))

    shown = report("&".join(f"error={fingerprint('reflect', message)}" for message in (REFUSED, SLOW)))

    assert "group" not in shown
    assert len(shown["rows"]) == 2


def test_the_evidence_is_what_the_run_keeps_and_not_its_shortened_line():
    long = "Cannot parse: " + "x" * 5_000
    run(error(SLOW), error(long), id="r1")
    key = ErrorLine.objects.get(position=1).fingerprint

    evidence = report(f"error={key}")["group"]["evidence"]

    assert (evidence.text, evidence.is_cut) == (long[:2_000], True)
    assert urlsplit(evidence.whole_url).path.endswith("/r1/errors/")
    assert parse_qs(urlsplit(evidence.whole_url).query)["position"] == ["1"]


# --- cost and real data


def test_a_page_of_many_groups_asks_no_more_than_a_page_of_one(many_runs):
    def queries(query: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            report(query)
        return len(asked)

    run(error(topic="x:1"), days=0.1)
    one = queries("since=2026-11-22")
    for n in range(40):
        run(error(f"one of a kind {chr(97 + n % 26)}{'z' * n}", topic=f"x:{n}"), layer=f"l{n}")

    assert len(report("period=30d")["rows"]) > 40
    assert queries("period=30d") == one


def test_the_sample_says_what_plain_sql_says():
    path = os.environ.get("ZOS_SAMPLE_DB", "")
    if not path:
        pytest.skip("ZOS_SAMPLE_DB names no real Zos database to compare with")
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as source:
        rows = source.execute(
            "SELECT layer_runs.id, started_at, line.value FROM layer_runs, json_each(errors) AS line"
            " WHERE json_type(errors) = 'array'"
        )
        made = [(pk, started, json.loads(value)) for pk, started, value in rows]
    call_command("import_zos", path, verbosity=0)

    shown = report("period=all")

    errors = Counter(fingerprint(one["node"], one["error"]) for _pk, _started, one in made)
    runs = {key: {pk for pk, _s, one in made if fingerprint(one["node"], one["error"]) == key} for key in errors}
    rows = [row for row in shown["rows"] if "fingerprint" in row]
    assert {row["fingerprint"]: (row["errors"], row["runs"]) for row in rows} == {
        key: (number, len(runs[key])) for key, number in errors.items()
    }
    assert shown["causes"] == len({fingerprint("", one["error"]) for _pk, _started, one in made}) == 7
    assert shown["errors"] == len(made)
    targets = Counter(one["topic"] for _pk, _started, one in made)
    worst, _url = shown["targets"]["rows"][0]
    assert (worst.topic, worst.errors) == targets.most_common(1)[0]
    nights = Counter(started[:10] for _pk, started, _one in made)
    (night, number), *_rest = nights.most_common(1)
    worst_night = report(f"since={night}&until={night}")
    assert worst_night["errors"] == number
