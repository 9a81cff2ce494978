"""Two runs side by side, or a run and the run before it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs.lenses.compare import fields
from layer_runs.lenses.compare.verdict import what_changed
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.conftest import ATTRIBUTE, SCRIPT, insert_raw
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

DAY = timedelta(days=1)
MINUS = "−"


def error(n: int, message: str = "Connection error.", node: str = "reflect") -> dict[str, str]:
    return {"topic": f"server:1:user:{n}", "error": message, "node": node}


def ids(a: LayerRun | str | None = None, b: LayerRun | str | None = None, **selection: str) -> str:
    given = {name: getattr(run, "pk", run) for name, run in (("a", a), ("b", b)) if run is not None}
    return f"?{urlencode(given | selection)}"


def cells(page, name: str) -> list[str]:
    """What the row of a field says: its label, both values, and how they differ."""
    row = page.one(f"tr[@data-field='{name}']")
    return [page.text(cell) for cell in row]


def differing(page) -> set[str]:
    return {row.get("data-field") for row in page.all("tr[@data-differs]") if row.get("data-field")}


def causes(page, kind: str) -> list[str]:
    return [page.text(item) for item in page.all(f"div[@data-kind='{kind}']/ol/li")]


@pytest.fixture
def pair(db) -> SimpleNamespace:
    """A good run of one version, and a day later a worse one of the next."""
    before = LayerRunFactory(
        id="before",
        ago=2 * DAY,
        layer_hash="aaaa1111",
        insights_created=12,
        tokens_input=80_000,
        tokens_output=5_000,
        tokens_total=None,
        estimated_cost_usd="0.30",
    )
    after = LayerRunFactory(
        id="after",
        ago=DAY,
        took=timedelta(seconds=120),
        layer_hash="bbbb2222",
        status="partial",
        targets_processed=6,
        targets_skipped=4,
        insights_created=6,
        tokens_input=60_000,
        tokens_output=3_003,
        tokens_total=None,
        estimated_cost_usd="0.2016",
        errors=[error(n) for n in range(4)],
    )
    return SimpleNamespace(before=before, after=after)


# -- which two


def test_two_runs_stand_as_they_were_named(get, pair):
    page = get(ids(pair.before, pair.after), "compare")
    assert cells(page, "layer_hash")[1:3] == ["aaaa1111", "bbbb2222"]
    assert [a.get("href") for a in page.all("thead/tr/th/a")] == ["/layer-runs/before/", "/layer-runs/after/"]
    assert page.text("h1").startswith("Two runs of nightly-user-reflection one right after the other, 24 hours apart")


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_run_is_compared_with_the_run_before_it(get, pair, name):
    LayerRunFactory(ago=timedelta(hours=30), source="elsewhere")
    LayerRunFactory(ago=timedelta(hours=29), layer_name="another")
    page = get(ids(**{name: pair.after}), "compare")
    assert cells(page, "layer_hash")[1:3] == ["aaaa1111", "bbbb2222"]
    assert [box.get("value") for box in page.all("input[@type='text']")] == ["before", "after"]


def test_the_first_run_of_its_layer_is_said_to_be_one_and_offered_another(get, pair):
    page = get(ids(b=pair.before), "compare")
    assert "There is no run of nightly-user-reflection before this one" in page.text()
    assert page.all("tr[@data-field]") == []
    assert page.link("Compare it with the run after it") == "/layer-runs/compare/?a=before&b=after"
    assert page.one("input[@name='b']").get("value") == "before"


def test_a_run_that_is_alone_is_offered_no_run_after_it(get):
    page = get(ids(b=LayerRunFactory()), "compare")
    assert "Compare it with the run after it" not in page.text()


def test_without_ids_it_asks_for_two(get):
    page = get("?period=30d&sort=-cost", "compare")
    form = page.one("form[@method='get'][@action='/layer-runs/compare/']")
    named = {box.get("name"): box.get("value") for box in form.iter("input")}
    assert named == {"a": "", "b": "", "period": "30d", "sort": "-cost"}
    assert page.alerts == {}


@pytest.mark.parametrize("unknown", ["nobody", "0" * 200, SCRIPT, ATTRIBUTE, "../before"])
def test_q07_an_unknown_id_is_answered_with_a_sentence(get, pair, unknown):
    page = get(ids(pair.before, unknown), "compare", status=404)
    assert list(page.alerts) == ["b"]
    assert page.alerts["b"].startswith("There is no run “")
    assert page.live_parts == []
    assert page.one("input[@name='a']").get("value") == "before"


def test_spaces_around_an_id_are_no_part_of_it(get, pair):
    assert cells(get(ids(" before ", " after\n"), "compare"), "status")[1:3] == ["success", "partial"]


def test_a_run_may_stand_beside_itself(get, pair):
    page = get(ids(pair.after, pair.after), "compare")
    assert page.text("p[@class='lr-run__say']") == "This is one run, compared with itself."
    assert differing(page) == set()
    assert causes(page, "both") == ["Connection error reflect Before: 4 →, After: 4"]
    assert "Swap sides" not in page.text()


def test_with_the_later_run_on_the_left_it_says_so_and_calls_nothing_new(get, pair):
    page = get(ids(pair.after, pair.before), "compare")
    assert [text.split()[0] for text in page.texts("thead/tr/th")[1:3]] == ["Later", "Earlier"]
    assert "Read backwards: the later run is on the left." in page.text()
    assert cells(page, "targets_skipped")[1:] == ["4", "0", f"{MINUS}4 {MINUS}100% fewer"]
    assert page.texts("h3") == ["Only in the later run"]
    assert cells(page, "started_at")[3] == "24 hours earlier"


# -- the fields


def test_every_figure_is_that_of_its_run_and_their_difference(get, pair):
    page = get(ids(pair.before, pair.after), "compare")
    columns = ["targets_matched", "targets_processed", "targets_skipped", "insights_created", "error_count"]
    columns += ["tokens_input", "tokens_output", "tokens_total"]
    table = LayerRun._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY started_at")
        stored = dict(zip(columns, zip(*cursor.fetchall(), strict=True), strict=True))
    for name, (before, after) in stored.items():
        _label, left, right, change = cells(page, name)
        assert [int(text.replace(",", "")) for text in (left, right)] == [before, after]
        if before == after:
            assert change == "same"
        else:
            assert int(change.split()[0].replace(",", "").replace(MINUS, "-")) == after - before
    assert cells(page, "duration_ms")[1:] == ["1m 30s", "2m 00s", "+30.0 s +33% longer"]
    assert cells(page, "estimated_cost_usd")[1:] == ["$0.3000", "$0.2016", f"{MINUS}$0.0984 {MINUS}33% less"]
    assert cells(page, "cost_per_target")[1:] == ["$0.0300", "$0.0336", "+$0.0036 +12% dearer"]
    # 85,000 / 10 and 63,003 / 6.
    assert cells(page, "tokens_per_target")[1:] == ["8,500", "10,501", "+2,001 +24% more"]
    assert cells(page, "insights_per_target")[1:] == ["1.20", "1.00", f"{MINUS}0.20 {MINUS}17% fewer"]


def test_what_differs_is_marked_by_a_word_and_what_is_worse_by_its_tone(get, pair):
    page = get(ids(pair.before, pair.after), "compare")
    assert {"layer_hash", "status", "duration_ms", "targets_skipped"} <= differing(page)
    assert not {"layer_name", "model_name", "targets_matched", "started_at", "completed_at"} & differing(page)
    assert all(cells(page, name)[3] for name in differing(page))
    tones = {row.get("data-field"): row.get("data-tone") for row in page.all("tr[@data-tone]")}
    assert tones == {"status": "partial", "targets_skipped": "failed", "error_count": "failed"}
    better = get(ids(pair.after, pair.before), "compare")
    assert better.all("tr[@data-tone]") == []


def test_money_has_no_tone_however_much_more_it_is(get, pair):
    LayerRun.objects.filter(pk="after").update(estimated_cost_usd=Decimal("900"))
    page = get(ids(pair.before, pair.after), "compare")
    assert "tone" not in page.one("tr[@data-field='estimated_cost_usd']").attrib
    assert "data-tone" not in page.one("tr[@data-field='cost_per_target']").attrib


def test_runs_that_did_the_same_differ_in_nothing(get):
    first, second = LayerRunFactory(ago=2 * DAY), LayerRunFactory(ago=DAY)
    page = get(ids(first, second), "compare")
    assert differing(page) == set()
    assert page.text("p[@class='lr-run__say']") == "The same version of the layer, no figure differs."
    assert "Neither run has an error." in page.text()


@pytest.mark.parametrize("places", [0, 2, 4])
def test_the_difference_is_that_of_the_figures_as_they_are_shown(places):
    words = fields.Words("more", "fewer")

    def show(value: Decimal) -> str:
        return f"{value:.{places}f}"

    for before, after in pairwise([Decimal(n) / 7 for n in range(1, 60, 3)]):
        row = fields.figure_row("x", "x", before, after, words, show, places)
        assert Decimal(row.change) == Decimal(show(after)) - Decimal(show(before)) or Decimal(row.change) == 0


def test_a_difference_too_small_to_be_shown_is_still_one(get):
    first = LayerRunFactory(ago=2 * DAY, estimated_cost_usd="0.100000001")
    second = LayerRunFactory(ago=DAY, estimated_cost_usd="0.100000002")
    page = get(ids(first, second), "compare")
    assert cells(page, "estimated_cost_usd")[1:] == ["$0.1000", "$0.1000", "+<$0.0001 ±0% more"]
    titles = [cell.get("title") for cell in page.all("tr[@data-field='estimated_cost_usd']/td")]
    assert titles[:2] == ["$0.100000001", "$0.100000002"]


def test_a_figure_that_one_run_lacks_has_no_difference(get, pair):
    LayerRun.objects.filter(pk="after").update(tokens_total=None, targets_processed=0, completed_at=None)
    page = get(ids(pair.before, pair.after), "compare")
    for name in ("tokens_total", "tokens_per_target", "cost_per_target", "duration_ms"):
        assert cells(page, name)[2:] == ["–", "only before"]


def test_a_clock_that_went_backwards_measures_no_difference(get, pair):
    skewed = LayerRunFactory(took=timedelta(seconds=-5))
    page = get(ids(pair.before, skewed), "compare")
    assert cells(page, "duration_ms")[1:] == ["1m 30s", f"clock skew ({MINUS}5.0 s)", "changed"]


def test_what_has_no_price_is_called_so_and_makes_nothing_cheaper(get, pair):
    LayerRun.objects.filter(pk="after").update(estimated_cost_usd=None, unpriced_tokens=63_003)
    page = get(ids(pair.before, pair.after), "compare")
    assert cells(page, "estimated_cost_usd") == [
        "Cost, estimate priced calls only",
        "$0.3000",
        "unpriced",
        "only before",
    ]
    assert cells(page, "unpriced_tokens")[1:] == ["0", "63,003", "+63,003 more"]
    assert "per target" not in page.text("p[@class='lr-run__say']")


# -- the sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "The same version of the layer, no figure differs."),
        ({"layer_hash": "other"}, "Another version of the layer."),
        ({"layer_hash": ""}, "What differs is marked below."),
        ({"layer_name": "another"}, "Two different layers."),
        ({"model_name": "another"}, "The same version of the layer, another model."),
        ({"status": "failed"}, "The same version of the layer, failed instead of success."),
        ({"status": ""}, "The same version of the layer, no status instead of success."),
        ({"targets_skipped": 1}, "The same version of the layer, 1 more target failed."),
        ({"targets_skipped": 1004}, "The same version of the layer, 1,004 more targets failed."),
        ({"insights_created": 9}, "The same version of the layer, 1 fewer insight."),
        ({"insights_created": 12}, "The same version of the layer, 2 more insights."),
        ({"estimated_cost_usd": Decimal("2.24")}, "The same version of the layer, 12% more expensive per target."),
        ({"estimated_cost_usd": Decimal("1.50")}, "The same version of the layer, 25% cheaper per target."),
        ({"targets_processed": 5}, "The same version of the layer, 100% more expensive per target."),
        ({"estimated_cost_usd": Decimal("2.0001")}, "The same version of the layer, what differs is marked below."),
        ({"estimated_cost_usd": None}, "The same version of the layer, what differs is marked below."),
        ({"tokens_input": 1}, "The same version of the layer, what differs is marked below."),
        (
            {"layer_hash": "other", "targets_skipped": 4, "estimated_cost_usd": Decimal("2.24")},
            "Another version of the layer, 4 more targets failed, 12% more expensive per target.",
        ),
        (
            {"status": "running"},
            "The same version of the layer, running instead of success,"
            " but the figures of a run that is still running are not final.",
        ),
    ],
    ids=str,
)
def test_one_sentence_says_what_changed(change, sentence):
    before = LayerRunFactory.build(id="a", estimated_cost_usd=Decimal(2))
    after = LayerRunFactory.build(id="b", estimated_cost_usd=Decimal(2))
    for name, value in change.items():
        setattr(after, name, value)
    for run in (before, after):
        run.duration_ms, run.error_count = 90_000, 0
    assert what_changed(before, after, fields.sections(before, after, before.started_at.tzinfo)) == sentence


# -- what went wrong


@pytest.fixture
def troubled(db) -> SimpleNamespace:
    overloaded, timeout, refused = "Error code: 529 - Overloaded", "Request timed out.", "Error code: 400 - refused"
    before = [error(1, overloaded), error(2, overloaded), error(3, timeout), error(4, timeout)]
    after = [error(2, overloaded), error(3, refused), error(5, refused), error(6, refused, "store"), error(3, refused)]
    return SimpleNamespace(
        before=LayerRunFactory(id="before", ago=2 * DAY, status="failed", errors=before),
        after=LayerRunFactory(id="after", ago=DAY, status="failed", errors=after),
    )


def test_errors_are_new_gone_or_in_both_runs_each_with_its_counts(get, troubled):
    page = get(ids(troubled.before, troubled.after), "compare")
    left, right = (
        Counter(found.fingerprint for found in run.read_errors()) for run in (troubled.before, troubled.after)
    )
    expected = {
        "new": right.keys() - left.keys(),
        "both": left.keys() & right.keys(),
        "gone": left.keys() - right.keys(),
    }
    for kind, fingerprints in expected.items():
        items = page.all(f"div[@data-kind='{kind}']/ol/li")
        assert {item.get("data-fingerprint") for item in items} == fingerprints
        for item in items:
            name = item.get("data-fingerprint")
            assert page.text(item).endswith(f"Before: {left[name]} →, After: {right[name]}")
    assert causes(page, "new")[0].startswith("Error code: 400 - refused code 400 reflect")
    assert page.link("Request timed out") == f"/layer-runs/errors/?period=all&error={min(expected['gone'])}"


def test_targets_fail_anew_again_or_no_more(get, troubled):
    page = get(ids(troubled.before, troubled.after), "compare")
    left, right = ({found.topic for found in run.read_errors()} for run in (troubled.before, troubled.after))
    expected = {"new": right - left, "both": left & right, "gone": left - right}
    for kind, topics in expected.items():
        box = next(box for box in page.all(f"div[@data-kind='{kind}']") if box.find("dt") is not None)
        assert {page.text(item) for item in box.iter("li")} == topics
        assert page.text(box.find("dd")) == str(len(topics))


def test_of_very_many_errors_the_most_frequent_are_shown_and_the_rest_is_counted(get):
    before = LayerRunFactory(ago=2 * DAY)
    nodes = [f"node_{first}{second}" for first in "abcd" for second in "abcdefghij"]
    errors = [error(n, node=node) for n, node in enumerate([*nodes, nodes[-1]])]
    after = LayerRunFactory(ago=DAY, status="partial", errors=errors)
    page = get(ids(before, after), "compare")
    shown = causes(page, "new")
    assert shown[0] == "Connection error node_dj Before: 0 →, After: 2"
    assert len(shown) == 16
    assert "24 more, with fewer errors" in page.text()
    assert "and 36 more" in page.text("dl[@class='lr-cmp__targets']")


def test_it_asks_the_same_few_questions_however_many_errors_and_calls_there_are(staff_client):
    def questions(before: LayerRun, after: LayerRun) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff_client.get(reverse("layer_runs:compare") + ids(before, after)).status_code == 200
        # The evidence itself is never read.
        assert not [query for query in queries if '"layer_runs_layerrun"."errors"' in query["sql"]]
        return len(queries)

    few = [LayerRunFactory(ago=DAY * n, layer_name="few", errors=[error(1)]) for n in (2, 1)]
    errors = [error(n, f"Failed in ‘step_{chr(97 + n % 26)}’") for n in range(500)]
    many = [LayerRunFactory(ago=DAY * n, layer_name="many", errors=errors) for n in (4, 3, 2, 1)][1:3]
    for n in range(20):
        LlmCallFactory(run=many[n % 2], call_type=f"type-{n}")
    staff_client.get(reverse("layer_runs:compare"))
    assert questions(*few) == questions(*many) <= 14


def test_errors_that_were_written_past_the_app_are_said_to_be_missing(get):
    insert_raw("one", '[{"topic": "t", "error": "e", "node": "n"}, {"error": "f"}]')
    page = get(ids("one", LayerRunFactory(errors=[error(1)])), "compare")
    assert "2 errors are missing here" in page.text()
    assert ErrorLine.objects.count() == 1


# -- the calls


def test_calls_of_both_runs_are_added_up_by_model_and_type(get, pair):
    for run, number in ((pair.before, 3), (pair.after, 2)):
        for n in range(number):
            LlmCallFactory(run=run, tokens_total=1_000 * (n + number), estimated_cost_usd=f"0.{n + number}")
    LlmCallFactory(run=pair.after, model_profile="another", tokens_total=1, estimated_cost_usd="0.0001")
    LlmCallFactory(run=pair.after, model_name="own-model", call_type="filter", estimated_cost_usd=None, tokens_total=7)
    page = get(ids(pair.before, pair.after), "compare")
    rows = {page.text(row.find("th")): row for row in page.all("table[@class='lr-table lr-cmp__calls']/tbody/tr")}
    assert list(rows) == ["claude-sonnet-4-6", "own-model"]
    for model, row in [*rows.items(), (None, page.one("tfoot/tr"))]:
        said = [page.text(cell) for cell in row.findall("td")][-7:]
        for side, run in enumerate((pair.before, pair.after)):
            calls = [call for call in run.calls.all() if model in (None, call.model_name)]
            assert said[side] == str(len(calls))
            assert said[2 + side] == f"{sum(call.tokens_total for call in calls):,}"
            cost = sum(call.estimated_cost_usd or 0 for call in calls)
            if cost:
                assert said[4 + side].split(" ")[0].removesuffix("+") == f"${cost:.4f}"
    assert [page.text(cell) for cell in rows["own-model"].findall("td")][-3:] == ["$0", "unpriced", "same"]


def test_runs_without_calls_have_no_table_of_them(get, pair):
    assert "LLM calls" not in get(ids(pair.before, pair.after), "compare").texts("h2")


# -- who may see what


def test_without_the_right_to_details_it_counts_errors_and_says_why(get, blind_client, troubled):
    LlmCallFactory(run=troubled.after, model_name="secret-model")
    with CaptureQueriesContext(connection) as queries:
        page = get(ids(troubled.before, troubled.after), "compare", client=blind_client)
    text = page.text()
    assert "4 before, 5 after" in text
    assert "need the permission to view run details" in text
    for said in ("Overloaded", "timed out", "refused", "server:1:user", "secret-model", "store"):
        assert said not in page.source.replace("historyRestore", "")  # htmx's own word
    assert not [query for query in queries if "errorline" in query["sql"] or "runusage" in query["sql"]]
    assert cells(page, "error_count")[1:] == ["4", "5", "+1 +25% more"]


# -- the ways on


def test_its_links_carry_the_list_they_came_from(get, pair, query_of):
    oldest, newest = LayerRunFactory(id="oldest", ago=3 * DAY), LayerRunFactory(id="newest")
    page = get(ids(pair.before, pair.after, status="partial", period="30d", sort="-cost", page="2"), "compare")
    carried = {"status": ["partial"], "period": ["30d"], "sort": ["-cost"], "page": ["2"]}
    for words, a, b in [
        ("Swap sides", pair.after, pair.before),
        ("Both one run back", oldest, pair.before),
        ("Both one run on", pair.after, newest),
    ]:
        assert query_of(page.link(words)) == carried | {"a": [a.pk], "b": [b.pk]}
    assert query_of(page.link("Back to the list")) == carried
    assert {link.partition("?")[0] for link in page.links if query_of(link) == carried} >= {
        "/layer-runs/",
        "/layer-runs/before/",
        "/layer-runs/after/",
    }
    assert page.links.count("/layer-runs/?layer_name=nightly-user-reflection&layer_hash=aaaa1111&period=all") == 1


def test_where_there_is_no_run_to_step_to_the_step_is_no_link(get, pair):
    page = get(ids(pair.before, pair.after), "compare")
    assert [page.text(step) for step in page.all("span[@aria-disabled='true']")] == [
        "Both one run back",
        "Both one run on",
    ]


def test_a_run_offers_to_be_compared_with_the_run_before(get, pair):
    page = get("?status=partial", "detail", pair.after.pk)
    link = page.link("Compare with the run before")
    assert link == "/layer-runs/compare/?status=partial&a=before&b=after"
    # A page of its own, also from the drawer.
    assert [a.get("hx-get") for a in page.all("a") if a.get("href") == link] == [None]
    assert "Compare with the run before" not in get("", "detail", pair.before.pk).text()


# -- odd runs


def test_no_run_is_too_odd_to_be_compared(get, odd_runs):
    plain = LayerRunFactory(errors=[error(1)])
    for odd in odd_runs.values():
        for given in ((odd, plain), (plain, odd), (None, odd)):
            page = get(ids(*given), "compare")
            assert page.live_parts == []
            assert page.one("*[@id='run-compare']") is not None


def test_hostile_text_stays_text(get, odd_runs):
    page = get(ids("attribute", "script"), "compare")
    assert cells(page, "layer_name")[1:3] == [" ".join(ATTRIBUTE.split()), SCRIPT]
    assert SCRIPT not in page.source
    assert page.text("div[@data-kind='new']/ol/li/div/code") == " ".join(ATTRIBUTE.split())
