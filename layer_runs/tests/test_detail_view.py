"""One run: a page of its own, the drawer's content, its errors page by page and its row as a download."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import html5lib
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from layer_runs.models import ErrorLine, LayerRun, LlmCall
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory


def errors(count: int, **changes) -> list[dict[str, str]]:
    return [{"topic": f"topic-{n:05}", "error": "Connection error.", "node": "reflect"} | changes for n in range(count)]


def failed_run(errors: list[dict[str, str]]) -> LayerRun:
    """A run with many errors, and the lines that follow from them."""
    return LayerRunFactory(status="failed", errors=errors)


# -- what it shows


def test_detail_shows_all_fields(get):
    run = LayerRunFactory(
        id="zos:01K",
        source="zos",
        layer_name="channel-speak",
        layer_hash="0123456789abcdef",
        status="partial",
        started_at=datetime(2026, 11, 1, 3, 4, 5, tzinfo=UTC),
        completed_at=datetime(2026, 11, 1, 3, 6, 35, tzinfo=UTC),
        heartbeat_at=datetime(2026, 11, 1, 3, 6, 30, tzinfo=UTC),
        targets_matched=1012,
        targets_processed=1008,
        targets_skipped=4,
        insights_created=1011,
        model_profile="deep",
        model_provider="openrouter",
        model_name="gpt-6-mini",
        tokens_input=54_468,
        tokens_output=4_371,
        tokens_total=58_839,
        estimated_cost_usd="0.1794",
        unpriced_tokens=777,
        reported_cost_usd="0.1622",
        reported_tokens_total=58_001,
        errors=[{"topic": "server:1:user:9", "error": "Overloaded at noon", "node": "reflect"}],
        notes={"altered": {"layer_name": "replaced characters"}, "original_id": "0/1K"},
    )
    text = get("", "detail", run.pk).text()
    for words in (
        "zos:01K",
        "partial channel-speak",
        "source zos",
        "0123456789abcdef",
        "Sun 1 November 2026, 03:04:05 UTC",
        "Sun 1 November 2026, 03:06:35 UTC",
        "last sign of life Sun 1 November 2026, 03:06:30 UTC",
        "2m 30s",
        "Matched1,012",
        "Processed1,008",
        "Failed4",
        "Insights1,011",
        "profile deep",
        "openrouter",
        "gpt-6-mini",
        "58,83954,468 in, 4,371 out",
        "Cost estimate$0.1794",
        "+ 777 unpriced tokens",
        "source said $0.1622",
        "source said 58,001",
        "server:1:user:9",
        "Overloaded at noon",
        "reflect",
        "1 error",
        "layer_name could not be kept as it came: replaced characters.",
        "Its id at the source is “0/1K”.",
    ):
        assert words in text


def test_it_says_the_whole_of_a_field_that_is_missing_as_nothing(get):
    run = LayerRun.objects.create(layer_name="a", status="success", started_at=timezone.now())
    answer = get("", "detail", run.pk)
    facts = dict(zip(answer.texts("dl[@class='lr-facts']//dt"), answer.texts("dl[@class='lr-facts']//dd"), strict=True))
    assert {facts[name] for name in ("Finished", "Duration", "Cost estimate", "Model", "Version")} == {"–"}
    assert facts["Tokens"] == "–– in, – out"
    assert answer.all("dl[@class='lr-funnel']") == []


def test_it_says_what_the_source_reported_only_where_that_differs(get):
    run = LayerRunFactory()
    assert "source said" not in get("", "detail", run.pk).text()


def test_it_tells_times_in_the_zone_of_the_site(get, settings):
    settings.TIME_ZONE = "America/New_York"
    run = LayerRunFactory(started_at=datetime(2026, 11, 1, 5, 30, tzinfo=UTC), took=timedelta(hours=1))
    text = get("", "detail", run.pk).text()
    # The clocks go back in between: the same wall-clock time, told apart by its zone.
    assert "Sun 1 November 2026, 01:30:00 EDT" in text
    assert "Sun 1 November 2026, 01:30:00 EST" in text


def test_it_draws_the_targets_to_scale(get):
    run = LayerRunFactory(targets_matched=8, targets_processed=6, targets_skipped=2)
    bars = get("", "detail", run.pk).all("dl[@class='lr-funnel']/div")
    widths = {bar.get("data-part"): next(e.get("width") for e in bar.iter() if e.tag.endswith("rect")) for bar in bars}
    assert widths == {"matched": "100.00%", "processed": "75.00%", "failed": "25.00%"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "All 10 targets were processed and made 10 insights."),
        ({"failing": True}, "All 10 targets failed and nothing was produced."),
        ({"status": "failed", "targets_skipped": 0}, "The run failed."),
        (
            {"status": "partial", "targets_processed": 8, "targets_skipped": 2, "insights_created": 1},
            "8 of 10 targets were processed and made 1 insight; 2 failed.",
        ),
        ({"status": "dry", "targets_matched": 0, "insights_created": 0}, "Nothing to do: no target matched."),
        ({"status": "dry", "insights_created": 0}, "10 targets were gone through and nothing was produced."),
        ({"under_way": True, "ago": timedelta(minutes=2)}, "Still running."),
        ({"under_way": True, "ago": timedelta(hours=3)}, "Still running, but there was no sign of life for 3 hours."),
        ({"status": "crashed", "completed_at": None}, "Stopped without finishing"),
        (
            {"failing": True, "targets_matched": 1, "targets_skipped": 1},
            "Its only target failed and nothing was produced.",
        ),
        ({"failing": True, "targets_processed": 3, "targets_skipped": 4}, "4 of 10 targets failed"),
        ({"failing": True, "insights_created": 2}, "All 10 targets failed, after 2 insights."),
        ({"targets_matched": 1, "targets_processed": 1}, "Its only target was processed and made 10 insights."),
        ({"targets_processed": 8, "insights_created": 0}, "8 of 10 targets were processed and made nothing."),
        ({"targets_matched": 0, "targets_processed": 0, "insights_created": 0}, "Finished, and made nothing."),
        ({"status": "dry", "targets_processed": 0, "insights_created": 0}, "A dry run: nothing was done"),
        ({"status": "dry"}, "A dry run, though it made 10 insights."),
        ({"status": "", "completed_at": None}, "It has no status."),
        ({"status": "odd"}, "Ended as “odd”, a status of its source's own."),
    ],
)
def test_it_says_in_one_sentence_what_happened(get, fields, sentence):
    assert sentence in get("", "detail", LayerRunFactory(**fields).pk).text("p[@class='lr-run__say']")


def test_its_page_has_its_name_as_heading_and_title(staff_client, dom):
    run = LayerRunFactory(failing=True)
    page = dom(staff_client.get(reverse("layer_runs:detail", args=[run.pk])))
    assert page.texts("h1") == [f"failed {run.layer_name}"]
    assert page.text("title").startswith(run.layer_name)


def test_it_is_html_without_mistakes_whatever_the_run_holds(get, odd_runs):
    for pk in odd_runs:
        answer = get("", "detail", pk)
        parser = html5lib.HTMLParser()
        parser.parse(answer.source)
        assert [error for _where, error, _more in parser.errors if not error.startswith("expected-doctype")] == []
        given = [element.get("id") for element in answer.root.iter() if element.get("id")]
        assert len(given) == len(set(given))


def test_d_it_shows_every_odd_run_and_brings_nothing_to_life(get, odd_runs):
    for pk in odd_runs:
        answer = get("", "detail", pk)
        assert pk in answer.text()
        assert answer.live_parts == [], pk
        if odd_runs[pk].error_count:
            assert get("", "run_errors", pk).live_parts == [], pk


@pytest.mark.parametrize(
    ("pk", "text"),
    [
        ("skewed", "clock skew (−5.0 s)"),
        ("future", "in 9 minutes"),
        ("object", "An object and no list"),
        ("text", "a bare text"),
        ("nulls", "null"),
        ("empties", "{}"),
        ("number", "7"),
        ("lists", '["a list", ["in a list"]]'),
        ("types", '"topic": {"a": 1}'),
        ("script", "<script>window.x=1</script>"),
        ("unknown", "exploded"),
        ("nothing", "(no name)"),
    ],
)
def test_d08_it_shows_what_is_odd_as_it_is(get, odd_runs, pk, text):
    assert text in get("", "detail", pk).text()


@pytest.mark.parametrize("pk", ["texts", "text", "nulls", "empties", "number", "lists", "truth"])
def test_d08_it_marks_an_error_of_an_unexpected_shape(get, odd_runs, pk):
    answer = get("", "detail", pk)
    assert "unexpected shape" in answer.text().casefold()
    assert "1 error" in answer.text()


def test_d04_it_keeps_htmx_away_from_what_strangers_wrote(get, odd_runs):
    LlmCallFactory(run=odd_runs["script"], topic="<div hx-post='/x/' hx-trigger='load'>")
    answer = get("", "detail", "script")
    dead = {section.get("id") or section.get("aria-labelledby") for section in answer.all("section[@hx-disable]")}
    assert dead == {"run-errors", "run-calls"}


# -- errors


def test_errors_are_displayed_correctly(get):
    run = LayerRunFactory(
        status="failed",
        errors=[
            {"topic": "user:1", "error": "Error code: 529 - {'error': {'message': 'Overloaded'}}", "node": "reflect"},
            {"topic": "user:2", "error": "Connection error.", "node": "fetch"},
            {"topic": "user:3", "error": "Error code: 529 - {'error': {'message': 'Overloaded'}}", "node": "reflect"},
            {"topic": "user:4", "error": "Connection error.", "node": "store"},
            {"topic": "user:5", "error": "", "node": None},
        ],
    )
    answer = get("", "detail", run.pk)
    assert "5 errors" in answer.text("*[@id='run-errors-title']")
    groups = answer.all("ol[@class='lr-errors']/li")
    assert [answer.text(group.find(".//strong")) for group in groups] == [
        *("Overloaded", "Connection error", "Connection error", "An error without a message"),
    ]
    # What says the same at the same node is one group, with all its targets.
    assert [[answer.text(code) for code in group.findall(".//ul//code")] for group in groups] == [
        *(["user:1", "user:3"], ["user:2"], ["user:4"], ["user:5"]),
    ]
    assert "code 529 reflect 2 targets" in answer.text(groups[0])
    # The whole text stands below a title that leaves something out, and only there.
    assert [answer.text(pre) for group in groups for pre in group.findall(".//pre")] == [
        "Error code: 529 - {'error': {'message': 'Overloaded'}}"
    ]


def test_it_keeps_the_lines_of_an_error_text(get):
    run = LayerRunFactory(errors=[{"topic": "t", "error": "Traceback:\n  File x\n    boom", "node": "n"}])
    assert get("", "detail", run.pk).one("pre").text == "Traceback:\n  File x\n    boom"


def test_d22_it_shows_the_first_fifty_errors_and_leads_to_the_rest(get, staff_client, dom):
    run = LayerRunFactory(status="failed", errors=errors(120))
    answer = get("", "detail", run.pk)
    seen = answer.texts("ul[@class='lr-topics']//code")
    assert "120 errors 1–50 shown" in answer.text()
    assert len(seen) == 50
    here = dom(staff_client.get(answer.one("nav[@aria-label='Pages of errors']/a").get("href")))
    assert "51–100 of 120" in here.text()
    seen += here.texts("ul[@class='lr-topics']//code")
    last = dom(staff_client.get(here.one("nav[@aria-label='Pages of errors']/a[@rel='next']").get("href")))
    assert "101–120 of 120" in last.text()
    seen += last.texts("ul[@class='lr-topics']//code")
    assert seen == [error["topic"] for error in run.errors]
    assert last.all("nav[@aria-label='Pages of errors']/a[@rel='next']") == []


@pytest.mark.parametrize(
    ("page", "shown"),
    [("0", "1–50"), ("-1", "1–50"), ("x", "1–50"), ("", "1–50"), ("4", "101–120"), ("9" * 5000, "101–120")],
)
def test_it_goes_to_the_nearest_page_of_errors(get, page, shown):
    run = LayerRunFactory(status="failed", errors=errors(120))
    assert f"{shown} of 120" in get(f"?page={page}", "run_errors", run.pk).text()


def test_a_run_without_errors_has_a_page_of_no_errors(get):
    assert "0 errors" in get("", "run_errors", LayerRunFactory().pk).text()


def test_d22_it_stays_small_with_ten_thousand_errors(get):
    run = failed_run(errors(10_000, error="x" * 220))
    for view in ("detail", "run_errors"):
        answer = get("", view, run.pk)
        assert len(answer.source) < 200_000
        assert sum(1 for _ in answer.root.iter()) < 3_000
        assert "10,000 errors" in answer.text()
    assert "9,951–10,000 of 10,000" in get("?page=200", "run_errors", run.pk).text()


def test_it_cuts_a_long_text_and_leads_to_the_whole(get, staff_client):
    whole = "a" * 1_990 + "<b>" + "ü" * 10_000
    run = LayerRunFactory(errors=[*errors(3), {"topic": "t", "error": whole, "node": "n"}])
    answer = get("", "detail", run.pk)
    assert answer.one("pre").text == whole[:1_999]
    assert "This is its beginning." in answer.text()
    response = staff_client.get(answer.link("Read the whole text"))
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response.content.decode() == whole


@pytest.mark.parametrize("fields", [{}, {"topic": None, "node": None}], ids=["from its line", "from the errors"])
def test_it_does_not_cut_a_text_of_exactly_2000_characters(get, fields):
    run = LayerRunFactory(errors=errors(1, error="a" * 2_000, **fields))
    answer = get("", "detail", run.pk)
    assert answer.one("pre").text == "a" * 2_000
    assert "its beginning" not in answer.text()


@pytest.mark.parametrize(
    ("position", "status"), [("1", 404), ("x", 400), ("-1", 400), ("٣", 400), ("9" * 30, 400), ("1,0", 400)]
)
def test_it_refuses_a_position_that_holds_no_error(staff_client, position, status):
    run = LayerRunFactory(errors=errors(1))
    url = reverse("layer_runs:run_errors", args=[run.pk])
    assert staff_client.get(f"{url}?position={position}").status_code == status


def test_its_addresses_are_plain_numbers_whatever_the_language(get, settings, staff_client):
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "de"
    run = failed_run([*errors(52_001), *errors(1, error="b" * 2_001), *errors(3_000)])
    answer = get("?page=1041", "run_errors", run.pk)
    (cut,) = [link for link in answer.links if "position=" in link]
    assert staff_client.get(cut).content == b"b" * 2_001
    assert {link.partition("page=")[2] for link in answer.links if "page=" in link} == {"1040", "1042"}


# -- calls


def test_it_shows_the_calls_of_the_run_with_their_sums(get):
    run = LayerRunFactory(model_name="claude-sonnet-4-6")
    LlmCallFactory(run=run, call_type="reflection", latency_ms=2_500)
    LlmCallFactory(run=run, topic="user:2", tokens_input=1, tokens_output=2, tokens_total=3, estimated_cost_usd="0.5")
    LlmCallFactory(
        run=run, model_name="gpt-6", success=False, error_message="Overloaded", estimated_cost_usd=None, latency_ms=None
    )
    LlmCallFactory()
    answer = get("", "detail", run.pk)
    assert "3 LLM calls 2 answered, 1 failed" in answer.text("*[@id='run-calls']")
    rows = [[answer.text(cell) for cell in row] for row in answer.all("table[@class='lr-table lr-calls']/tbody/tr")]
    assert len(rows) == 4
    assert ["ok", "server:1:user:0", "reflection", "claude-sonnet-4-6", "4,958", "291", "$0.0192", "2.5 s"] in rows
    assert ["ok", "user:2", "reflection", "claude-sonnet-4-6", "1", "2", "$0.5000", "1.2 s"] in rows
    failed = rows.index(["failed", "server:1:user:0", "reflection", "gpt-6", "4,958", "291", "unpriced", "–"])
    assert rows[failed + 1] == ["", "Overloaded"]
    sums = answer.texts("table[@class='lr-table lr-calls']/tfoot/tr/*")
    assert sums == ["All", "9,917", "584", "$0.5192", ""]
    assert "also called gpt-6" in answer.text()


def test_it_names_the_models_of_the_calls_where_the_run_names_none(get):
    run = LayerRunFactory(model_name="")
    LlmCallFactory(run=run, model_name="b")
    LlmCallFactory(run=run, model_name="a")
    assert "Modela, b" in get("", "detail", run.pk).text()


def test_it_shows_the_first_hundred_calls_and_the_sums_of_all(get):
    run = LayerRunFactory()
    LlmCall.objects.bulk_create(LlmCallFactory.build_batch(130, run=run, tokens_input=10, estimated_cost_usd="0.01"))
    answer = get("", "detail", run.pk)
    assert len(answer.all("table[@class='lr-table lr-calls']/tbody/tr")) == 100
    assert "All 130; the first 100 are shown" in answer.text()
    assert answer.texts("table[@class='lr-table lr-calls']/tfoot/tr/td")[:1] == ["1,300"]
    assert answer.texts("table[@class='lr-table lr-calls']/tfoot/tr/td")[2] == "$1.3000"


# -- the runs around it


def test_it_leads_to_the_runs_of_the_same_layer_and_source_before_and_after(get, query_of):
    before, run, after = (LayerRunFactory(ago=timedelta(days=days), source="a") for days in (400, 200, 0))
    LayerRunFactory(ago=timedelta(days=300), source="b")
    LayerRunFactory(ago=timedelta(days=100), source="a", layer_name="other")
    answer = get("?status=failed&period=24h", "detail", run.pk)
    there = {name: answer.one(f"a[@rel='{name}']").get("href") for name in ("prev", "next")}
    assert before.pk in there["prev"]
    assert after.pk in there["next"]
    assert query_of(there["prev"]) == {"status": ["failed"], "period": ["24h"]}
    assert answer.all("article//a[@rel='prev']")


def test_it_tells_runs_of_one_moment_apart(get):
    moment = timezone.now() - timedelta(hours=1)
    for pk in "cab":
        LayerRunFactory(id=pk, started_at=moment)
    around = {pk: get("", "detail", pk).all("a[@rel]") for pk in "abc"}
    ways = {
        pk: {link.get("rel"): link.get("href").split("/")[-2] for link in links if link.get("rel") in ("prev", "next")}
        for pk, links in around.items()
    }
    assert ways == {"a": {"next": "b"}, "b": {"prev": "a", "next": "c"}, "c": {"prev": "b"}}


def test_a_lonely_run_has_no_runs_around_it(get):
    answer = get("", "detail", LayerRunFactory().pk)
    assert "The runs around it" not in answer.text()
    assert answer.all("a[@rel='prev']") == answer.all("a[@rel='next']") == []


# -- links


def test_its_links_carry_the_list_it_was_opened_from(staff_client, dom, query_of):
    run = LayerRunFactory(status="failed", errors=[*errors(1, error="x" * 5000), *errors(120)])
    LayerRunFactory(ago=timedelta(0))
    opened = "?layer_name=a&status=failed&period=30d&sort=cost&page=3&per_page=50"
    page = dom(staff_client.get(reverse("layer_runs:detail", args=[run.pk]) + opened))
    whole = {"layer_name": ["a"], "status": ["failed"], "period": ["30d"]}
    whole |= {"sort": ["cost"], "page": ["3"], "per_page": ["50"]}
    assert query_of(page.link("Back to the list")) == whole
    assert query_of(page.link("Run after")) == whole
    # The page of the list is not a page of errors.
    del whole["page"]
    for link in [link for link in page.links if f"{run.pk}/errors/" in link]:
        assert query_of(link).items() >= whole.items()
        assert query_of(link).get("page", ["2"]) == ["2"]
    assert query_of(page.link("Next"))["page"] == ["2"]
    assert query_of(page.link("Read the whole text"))["position"] == ["0"]


def test_the_way_back_from_its_errors_is_not_the_page_of_the_errors(staff_client, dom):
    run = LayerRunFactory(status="failed", errors=errors(120))
    there = dom(staff_client.get(reverse("layer_runs:run_errors", args=[run.pk]) + "?page=2"))
    back = {link.get("href") for link in there.all("div[@class='breadcrumbs']/a")} - {reverse("admin:index")}
    assert back == {reverse("layer_runs:list"), reverse("layer_runs:detail", args=[run.pk])}


def test_it_ignores_unknown_parameters_and_bad_ones(get):
    run = LayerRunFactory()
    answer = get("?evil=1&status=bogus&since=garbage", "detail", run.pk)
    assert not [link for link in answer.links if "evil" in link or "bogus" in link or "garbage" in link]


def test_it_leads_to_the_admin_and_to_the_download(get):
    run = LayerRunFactory(id="zos:a_b")
    answer = get("", "detail", run.pk)
    assert answer.link("Open in the admin") == "/admin/layer_runs/layerrun/zos_3Aa_5Fb/change/"
    assert answer.link("Download as JSON") == reverse("layer_runs:raw", args=[run.pk])


# -- the row as it is kept


def test_its_download_is_the_row_as_it_is_kept(staff_client):
    run = LayerRunFactory(id="zos:01", errors=errors(70), notes={"a": "ü"}, estimated_cost_usd="0.100000001")
    calls = [LlmCallFactory(run=run), LlmCallFactory(run=run, estimated_cost_usd=None)]
    response = staff_client.get(reverse("layer_runs:raw", args=[run.pk]))
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"] == 'attachment; filename="layer-run-zos-01.json"'
    row = json.loads(response.content, parse_float=Decimal)
    run.refresh_from_db()
    names = {field.attname for field in LayerRun._meta.concrete_fields}
    assert row.keys() == names | {"calls"}
    for name in names - {"started_at", "completed_at", "estimated_cost_usd"}:
        assert row[name] == getattr(run, name)
    assert Decimal(row["estimated_cost_usd"]) == Decimal("0.100000001")
    assert abs(datetime.fromisoformat(row["started_at"]) - run.started_at) < timedelta(milliseconds=1)
    assert [call["id"] for call in row["calls"]] == [call.pk for call in sorted(calls, key=lambda call: call.pk)]
    assert row["calls"][0]["tokens_input"] == 4_958


def test_its_download_holds_every_odd_run(staff_client, odd_runs):
    for pk, run in odd_runs.items():
        assert json.loads(staff_client.get(reverse("layer_runs:raw", args=[pk])).content)["errors"] == run.errors


# -- not there


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true", "HX-Target": "run-detail"}], ids=["page", "fragment"])
@pytest.mark.parametrize("pk", ["nobody", "error", "x" * 500, "%F0%9F%92%A5", "..;", "a%2Fb"])
@pytest.mark.parametrize("rest", ["", "errors/", "raw/"])
def test_a_run_that_is_not_there_is_404(staff_client, headers, pk, rest):
    LayerRunFactory()
    answer = staff_client.get(f"{reverse('layer_runs:list')}{pk}/{rest}", headers=headers)
    assert answer.status_code == 404
    assert b"Traceback" not in answer.content


# -- htmx


def test_the_drawer_gets_the_run_alone(staff_client):
    run = LayerRunFactory()
    url = reverse("layer_runs:detail", args=[run.pk])
    answer = staff_client.get(url, headers={"HX-Request": "true", "HX-Target": "run-detail"})
    assert answer.content.strip().startswith(b"<article")
    assert b"<html" not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {"HX-Request": "true", "HX-Target": "run-results"},
        {"HX-Request": "true", "HX-Target": "run-detail", "HX-Boosted": "true"},
        {"HX-Request": "true", "HX-Target": "run-detail", "HX-History-Restore-Request": "true"},
    ],
)
def test_a09_any_other_request_gets_the_whole_page(staff_client, headers):
    url = reverse("layer_runs:detail", args=[LayerRunFactory().pk])
    assert b"<html" in staff_client.get(url, headers=headers).content


@pytest.mark.parametrize("view", ["detail", "run_errors"])
def test_a07_it_varies_on_what_its_answer_depends_on(get, view):
    response = get("", view, LayerRunFactory().pk).response
    assert {"Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request"} <= set(response["Vary"].split(", "))


# -- what it costs


def test_it_costs_as_many_queries_for_a_run_full_of_calls_and_errors_as_for_a_small_one(get, django_assert_num_queries):
    small, big = (LayerRunFactory(layer_name=name, failing=True) for name in "ab")
    LlmCallFactory(run=small)
    LlmCall.objects.bulk_create(LlmCallFactory.build_batch(90, run=big))
    big.errors = errors(200)
    big.save()
    with CaptureQueriesContext(connection) as queries:
        get("", "detail", small.pk)
    with django_assert_num_queries(len(queries)):
        get("", "detail", big.pk)
    # Session, user, two of permissions, the run, its errors and notes, two around it, three of its calls.
    assert len(queries) <= 12


def reads_of(queries: CaptureQueriesContext, column: str) -> list[str]:
    return [query["sql"] for query in queries if f'"{LayerRun._meta.db_table}"."{column}"' in query["sql"]]


@pytest.mark.parametrize("view", ["detail", "run_errors"])
def test_d22_d23_it_reads_the_lines_of_one_page_and_never_all_errors(get, view):
    run = failed_run(errors(200))
    LayerRunFactory.create_batch(3, failing=True)
    for page in ("", "?page=4") if view == "run_errors" else ("",):
        with CaptureQueriesContext(connection) as queries:
            assert "200 errors" in get(page, view, run.pk).text()
        assert reads_of(queries, "errors") == []
        (lines,) = [query["sql"] for query in queries if "errorline" in query["sql"]]
        assert "position" in lines.partition("WHERE")[2]


@pytest.mark.parametrize(
    "odd", [{"error": "an error alone"}, {"error": {"code": 5}, "topic": "t", "node": "n"}, "a text", None, 7, []]
)
def test_d08_it_reads_errors_of_another_shape_from_the_run_itself(get, odd):
    run = failed_run([*errors(60), odd, *errors(3)])
    with CaptureQueriesContext(connection) as queries:
        answer = get("?page=2", "run_errors", run.pk)
    (read,) = reads_of(queries, "errors")
    assert run.pk in read
    marked = "unexpected shape" in answer.text().casefold()
    assert marked is not (isinstance(odd, dict) and odd["error"] == "an error alone")
    assert answer.texts("ul[@class='lr-topics']//code") == [f"topic-{n:05}" for n in (*range(50, 60), *range(3))]


@pytest.mark.parametrize("left", [0, 1, 49])
def test_it_shows_all_errors_of_a_page_although_their_lines_are_missing(get, left):
    run = failed_run(errors(120))
    ErrorLine.objects.filter(run=run, position__gte=50 + left, position__lt=100).delete()
    answer = get("?page=2", "run_errors", run.pk)
    assert answer.texts("ul[@class='lr-topics']//code") == [f"topic-{n:05}" for n in range(50, 100)]


@pytest.mark.parametrize("text", ["x", "é", '"', "<&>", "😀", "\x01"], ids=ascii)
@pytest.mark.parametrize("fields", [{}, {"topic": None, "node": None}], ids=["from its line", "from the errors"])
def test_d24_a_page_of_the_longest_errors_stays_small(get, text, fields):
    """Fifty errors that differ, each as long as a line or longer, in characters of up to six bytes each."""
    run = failed_run([{"topic": f"{n}", "error": f"{n} {text * 3_000}", "node": "n", **fields} for n in range(50)])
    for view in ("detail", "run_errors"):
        answer = get("", view, run.pk)
        assert len(answer.response.content) < 200_000
        assert len(answer.all("ol[@class='lr-errors']/li")) == 50
        # None is taken for the whole of it.
        assert len([link for link in answer.links if "position=" in link]) == 50
