"""Rows that are odd in every way that was thought of, written past the app: no page loses the good ones for them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import lxml.html
import pytest
import time_machine
from django.contrib.admin.utils import quote
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from layer_runs.expressions import SumOfUsd
from layer_runs.lenses.durations import Typical, typical
from layer_runs.lines import spelled_out
from layer_runs.models import AuditEvent, ErrorLine, LayerRun
from layer_runs.tests.conftest import ATTRIBUTE, FRAGMENTS, ODD_ERRORS, SCRIPT, Dom, insert_raw
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

TEMPLATES = sorted((Path(__file__).parents[1] / "templates").rglob("*.html"))
GOOD = 50
END_OF_SCRIPT = "</script><script>window.x=1</script>"
REQUEST = "<div hx-post='/layer-runs/x/delete/' hx-trigger='load'></div>"
HANDLER = "<b hx-on:load='x=1' hx-trigger='load[(x=1)]' hx-vals='js:{a: x=1}'>"
SPOOF = "\u202eexe.\u200bnimda\u2066"


def errors(*texts: str, **fields: Any) -> str:
    return json.dumps([{"topic": text, "error": text, "node": text, **fields} for text in texts], ensure_ascii=False)


def nested(depth: int) -> str:
    return '[{"error": ' + "[" * depth + "]" * depth + "}]"


def moment(**ago: float) -> Any:
    return connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(**ago))


def same_name(**columns: Any) -> dict[str, Any]:
    """The same text wherever a run holds one."""
    (text,) = columns.values()
    fits = {"layer_name": 200, "model_name": 200, "model_profile": 100, "layer_hash": 64, "status": 32, "source": 30}
    return {name: text[:length] for name, length in fits.items()} | {"errors": errors(text)}


# What the column of a run holds: by the number it has in the catalogue of odd rows.
KEPT: dict[str, Callable[[], dict[str, Any]]] = {
    "d01-script": lambda: same_name(text=SCRIPT),
    "d01-image": lambda: same_name(text="<img src=x onerror=window.x=1>"),
    "d02-attribute": lambda: same_name(text=ATTRIBUTE),
    "d03-end-of-script": lambda: same_name(text=END_OF_SCRIPT),
    "d04-request": lambda: same_name(text=REQUEST),
    "d05-values": lambda: same_name(text='x","admin":"1'),
    "d06-handler": lambda: same_name(text=HANDLER),
    "d07-formula": lambda: same_name(text='=HYPERLINK("http://x/?"&A1,"x")'),
    **{f"d08-{name}": lambda text=text: {"errors": text} for name, text in ODD_ERRORS.items()},
    "d12-shortest-id": lambda: {"id": "-"},
    "d13-bidi": lambda: same_name(text=SPOOF),
    "d14-tokens": lambda: {"tokens_total": 2**31, "tokens_input": 2**31, "tokens_output": 0},
    "d15-largest": lambda: {
        **dict.fromkeys(("tokens_total", "tokens_input", "tokens_output", "unpriced_tokens"), 10**12),
        **dict.fromkeys(("targets_matched", "targets_processed", "targets_skipped", "insights_created"), 2**31 - 1),
        "estimated_cost_usd": 10**15 - 1,
    },
    "d18-nano-dollar": lambda: {"estimated_cost_usd": 1},
    "d19-skew": lambda: {"completed_at": moment(hours=1, seconds=5)},
    "d20-future": lambda: {"started_at": moment(minutes=-10), "status": "running"},
    "d21-status": lambda: {"status": "x" * 32},
    "d21-no-status": lambda: {"status": ""},
    "d24-megabyte": lambda: {"errors": errors("x" * 1_000_000)},
    "d25-widest": lambda: same_name(text="W" * 200),
    "d26-control": lambda: same_name(text="\x1b[31mred\x1b[0m\r\n2026 ERROR forged\u2028x\x07"),
    "d27-no-name": lambda: {"layer_name": ""},
    "d27-emoji": lambda: same_name(text="🦀👩‍👩‍👧 مرحبا"),
    "d29-long-word": lambda: {"errors": errors("http://" + "a" * 100_000 + " 9" * 50_000)},
    "d30-nested": lambda: {"errors": nested(900)},
    "d30-notes": lambda: {
        "notes": json.dumps({"altered": {"x" * 1_000: "y" * 100_000}, "nulled": [[[]]], "z": SCRIPT})
    },
}
# What SQLite keeps and PostgreSQL refuses.
KEPT_BY_SQLITE: dict[str, Callable[[], dict[str, Any]]] = {
    "d09-surrogate": lambda: {"errors": '[{"topic": "t", "error": "\\udcff", "node": "n\\ud800"}]'},
    "d10-nul": lambda: {"errors": '[{"topic": "t", "error": "a\\u0000b", "node": "n"}]'},
}
# What no database keeps: the statement itself fails, so that no page ever meets it.
REFUSED: dict[str, dict[str, Any]] = {
    "d10-nul-in-a-name": {"layer_name": "a\x00b"},
    "d11-long-ago": {"started_at": "0001-01-01 00:00:00"},
    "d11-far-ahead": {"started_at": "9999-12-31 23:59:59"},
    "d11-end-far-ahead": {"completed_at": "2200-01-01 00:00:00"},
    "d11-no-time": {"started_at": "some day"},
    "d12-slash": {"id": "a/b"},
    "d12-page": {"id": "stats"},
    "d13-nothing": {"id": ""},
    "d13-dots": {"id": ".."},
    "d13-bidi": {"id": "a\u202eb\u200b"},
    "d14-too-many-tokens": {"tokens_total": 10**12 + 1},
    "d14-less-than-none": {"tokens_input": -1},
    "d15-too-large-to-add": {"tokens_total": 2**62},
    "d16-nan": {"estimated_cost_usd": "NaN"},
    "d17-infinity": {"estimated_cost_usd": "Infinity"},
    "d17-negative": {"estimated_cost_usd": -5},
    "d17-too-dear": {"estimated_cost_usd": 10**15},
    "d21-long-status": {"status": "s" * 300},
    "d25-long-name": {"layer_name": "l" * 10_000},
    "d30-no-json": {"errors": "[{bad"},
    "d30-bottomless": {"errors": nested(100_000)},
}


def insert_odd(columns: dict[str, Any]) -> str:
    """Write an odd row past the app, and its lines as `rebuild_derived` would; return its id."""
    given = {"errors": "[]", **columns}
    pk = given.pop("id", "odd")
    insert_raw(pk, given.pop("errors"), **given)
    ErrorLine.objects.rewrite([LayerRun.objects.get(pk=pk)])
    return pk


@pytest.fixture
def good(db) -> list[LayerRun]:
    """Fifty runs as they should be, each with one error that they share."""
    runs = LayerRunFactory.build_batch(
        GOOD, layer_name="good", status="partial", errors=json.loads(errors("Overloaded")), estimated_cost_usd="1"
    )
    return LayerRun.objects.bulk_create(runs)


def body(response: HttpResponse) -> str:
    return (b"".join(response.streaming_content) if response.streaming else response.content).decode()


def looked_at(client: Client, odd: set[str], good: list[LayerRun]) -> None:
    """Open every page there is, and find the fifty good runs on each that speaks of runs."""
    ids = {run.pk for run in good}
    fingerprint = good[0].error_lines.get().fingerprint

    def page(view: str, query: str = "", *args: str) -> Dom:
        response = client.get(reverse(f"layer_runs:{view}", args=args) + query)
        assert response.status_code == 200, (view, query, args)
        answer = Dom(response)
        assert answer.live_parts == [], (view, query, args)
        assert len(response.content) < 400_000, (view, query, args)
        return answer

    everything = page("list", "?period=all&per_page=100")
    assert set(everything.run_ids) == ids | odd
    assert everything.total == str(GOOD + len(odd))
    assert set(page("list", "?layer_name=good&per_page=50&sort=-cost").run_ids) == ids
    assert "50" in page("layers", "?period=all").text("body")
    for view in ("layers", "costs", "errors"):
        assert page(view, "?layer_name=good").total == str(GOOD)
    page("layers", "?status=success&period=all")
    page("costs", "?period=all")
    assert page("stats", "?period=all").stats["total"] == str(GOOD + len(odd))
    assert "Overloaded" in page("errors", "?period=all").text()
    assert page("errors", f"?error={fingerprint}").total == str(GOOD)
    for pk in (*odd, good[0].pk):
        assert pk in page("detail", "", pk).text()
        page("run_errors", "", pk)
        page("compare", f"?a={pk}&b={good[1].pk}")
    page("live", "?after=0&period=all")


def taken_along(client: Client, odd: set[str], good: list[LayerRun]) -> None:
    """Download all there is, and open the pages of the built-in admin."""
    ids = {run.pk for run in good}

    def answer(url: str, data: dict[str, Any] | None = None) -> HttpResponse:
        response = client.post(url, data) if data else client.get(url)
        assert response.status_code == 200, url
        return response

    def rows(response: HttpResponse) -> list[dict[str, str]]:
        csv.field_size_limit(10_000_000)
        return list(csv.DictReader(io.StringIO(body(response), newline="")))

    export = reverse("layer_runs:export", args=["csv"]) + "?period=all"
    assert {row["id"].removeprefix("'") for row in rows(answer(export))} == ids | odd
    lines = body(answer(reverse("layer_runs:export", args=["json"]) + "?period=all")).split("\n")
    assert {json.loads(line)["id"] for line in lines if line} == ids | odd
    layers = {row["layer_name"]: row["runs"] for row in rows(answer(reverse("layer_runs:layers_csv") + "?period=all"))}
    assert layers["good"] == str(GOOD)
    assert str(GOOD) in body(answer(reverse("layer_runs:errors_csv") + "?period=all"))
    assert "good" in body(answer(reverse("layer_runs:costs_csv") + "?period=all"))
    for pk in odd:
        assert json.loads(body(answer(reverse("layer_runs:raw", args=[pk]))))["id"] == pk
    changelist = reverse("admin:layer_runs_layerrun_changelist")
    listed = Dom(answer(f"{changelist}?all="))
    assert {box.get("value") for box in listed.all("input[@name='_selected_action']")} == ids | odd
    changed = {pk: Dom(answer(reverse("admin:layer_runs_layerrun_change", args=[quote(pk)]))) for pk in odd}
    assert [pk for pk in odd if pk not in changed[pk].text()] == []
    for found in (listed, *changed.values()):
        assert [part for part in found.live_parts if "window.x" in part or "x=1" in part] == []
        assert len(found.source) < 400_000
    for action in ("export_csv", "export_json"):
        taken = body(answer(changelist, {"action": action, "_selected_action": [*odd, good[0].pk]}))
        assert good[0].pk in taken


# The numbers of a family of odd rows, which are written together.
FAMILIES = ["d01-d02-d03-d04-d05-d06-d07", "d08", "d12-d13-d21-d25-d26-d27", "d14-d15-d18-d19-d20", "d24-d29-d30"]


def test_every_odd_row_is_of_a_family() -> None:
    assert {name.partition("-")[0] for name in KEPT} == {number for family in FAMILIES for number in family.split("-")}


@pytest.mark.parametrize("family", FAMILIES)
def test_t02_every_page_shows_all_good_runs_beside_odd_ones(family, good, keeper_client):
    some = {name: columns for name, columns in KEPT.items() if name.partition("-")[0] in family.split("-")}
    odd = {insert_odd({"id": f"odd-{name}"} | columns()) for name, columns in some.items()}
    looked_at(keeper_client, odd, good)
    taken_along(keeper_client, odd, good)


@pytest.mark.parametrize("columns", [pytest.param(columns, id=id) for id, columns in KEPT_BY_SQLITE.items()])
def test_t02_what_only_sqlite_keeps_breaks_no_page_either(columns, good, keeper_client):
    if connection.vendor != "sqlite":
        with pytest.raises((DatabaseError, ValueError)), transaction.atomic():
            insert_odd(columns())
        assert LayerRun.objects.count() == GOOD
        return
    odd = {insert_odd(columns())}
    looked_at(keeper_client, odd, good)
    taken_along(keeper_client, odd, good)


@pytest.mark.parametrize("columns", [pytest.param(columns, id=id) for id, columns in REFUSED.items()])
def test_t02_what_could_not_be_read_back_is_refused_by_the_database_itself(columns, good):
    # (Of a NUL the driver of PostgreSQL says so before the server can.)
    with pytest.raises((DatabaseError, ValueError)), transaction.atomic():
        insert_odd(columns)
    assert LayerRun.objects.count() == GOOD


def test_t02_every_fragment_shows_all_good_runs_beside_all_odd_ones_at_once(good, keeper_client):
    kept = KEPT | (KEPT_BY_SQLITE if connection.vendor == "sqlite" else {})
    odd = {insert_odd({"id": f"odd-{name}"} | columns()) for name, columns in kept.items()}

    def fragment(view: str, query: str, *args: str) -> Dom:
        headers = {"HX-Request": "true", "HX-Target": FRAGMENTS[view]}
        response = keeper_client.get(reverse(f"layer_runs:{view}", args=args) + query, headers=headers)
        assert response.status_code == 200, (view, query, args)
        answer = Dom(response)
        assert "<html" not in answer.source
        assert answer.live_parts == [], (view, args)
        return answer

    assert set(fragment("list", "?period=all&per_page=100").run_ids) == odd | {run.pk for run in good}
    for view in ("layers", "errors", "costs"):
        assert fragment(view, "?period=all").total == str(GOOD + len(odd))
    assert fragment("stats", "?period=all").stats["total"] == str(GOOD + len(odd))
    for pk in odd:
        assert pk in fragment("detail", "", pk).text()
        fragment("run_errors", "", pk)
        fragment("compare", f"?a={pk}&b={good[0].pk}")


def test_d13_characters_that_turn_or_hide_text_are_shown_for_what_they_are(good, get):
    odd = insert_odd(same_name(text=SPOOF))
    for answer in (get("?period=all&per_page=100"), get("", "detail", odd), get("", "run_errors", odd)):
        text = answer.text()
        assert "\\u202eexe.\\u200bnimda\\u2066" in text
        assert "\u202e" not in text
    # What it really is called is still what its links say.
    assert any("%E2%80%AE" in link for link in get("?layer_name=" + SPOOF).links)
    kept = LayerRunFactory(layer_name="\u200f👩‍👩‍👧\u200cمرحبا")
    assert kept.layer_name in get("", "detail", kept.pk).text()


# The fields of forms that must send a value back as it is: the only place where it stands as it is.
CHOICES = ("layer_name", "status", "model_name", "source")
EXACT_FIELDS = {*CHOICES, "exclude_layer", "layer_hash", "q", "since", "min_cost", "a"}
UNSEEN = "\u202e\u200b\u2066"


def raw_parts(answer: Dom) -> list[str]:
    """Return the texts and attributes of a page that hold what cannot be seen, but for the values of fields."""
    found, exact = [], 0
    for element in answer.root.iter():
        texts = [("", element.text or ""), ("", element.tail or ""), *element.items()]
        for name, text in texts:
            if not set(UNSEEN) & set(text):
                continue
            if element.tag in ("input", "option") and name == "value" and element.get("name") in EXACT_FIELDS:
                exact += sum(map(text.count, UNSEEN))
            else:
                found.append(f"{element.tag} {name}: {text!r}")
    # What a parser of HTML made of it is all there was.
    assert found or exact == sum(map(answer.source.count, UNSEEN))
    return found


@pytest.fixture
def spoofed(good) -> list[LayerRun]:
    """Runs of two versions of a layer, with calls, that hold what cannot be seen wherever they hold a text."""
    fields = {
        **{"layer_name": f"evil {SPOOF} value=", "model_name": SPOOF, "model_profile": SPOOF, "model_provider": SPOOF},
        **{"source": SPOOF, "status": SPOOF, "estimated_cost_usd": "2", "notes": {"altered": {SPOOF: SPOOF}}},
    }
    both = [{"topic": f"{SPOOF}{n}", "error": f"BIDI {SPOOF}", "node": SPOOF, "code": SPOOF} for n in range(3)]
    runs = [
        LayerRunFactory(**fields, layer_hash=SPOOF, errors=both, ago=timedelta(hours=3)),
        LayerRunFactory(**fields, layer_hash=f"2{SPOOF}", errors=both[:1], ago=timedelta(hours=2)),
        LayerRunFactory(**fields | {"status": "failed"}, layer_hash=f"2{SPOOF}", errors=both),
    ]
    for run in runs:
        LlmCallFactory(run=run, topic=SPOOF, call_type=SPOOF, model_name=SPOOF, model_provider=SPOOF)
    AuditEvent.objects.create(action="delete", actor=SPOOF, what=f"all of {SPOOF}")
    return runs


def test_d13_no_page_holds_a_character_that_turns_or_hides_text(spoofed, get, staff_client):
    first, second, failed = spoofed
    named = "?" + urlencode({"layer_name": failed.layer_name, "period": "all"})
    every = {name: getattr(failed, name) for name in (*CHOICES, "layer_hash")} | {
        "q": SPOOF,
        "exclude_layer": SPOOF,
        "since": SPOOF,
        "min_cost": SPOOF,
        "period": SPOOF,
        "sort": SPOOF,
    }
    asked = [("list", "?period=all&per_page=100"), ("stats", "?period=all")]
    asked += [(view, query) for view in ("list", "layers", "errors", "costs") for query in (named, "?period=all")]
    asked += [(view, "?" + urlencode(every)) for view in ("list", "layers", "errors", "costs", "stats")]
    asked += [("errors", f"{named}&error={line.fingerprint}") for line in failed.error_lines.all()[:1]]
    asked += [("compare", f"?a={a.pk}&b={b.pk}") for a, b in [(first, second), (second, failed)]]
    asked += [("detail", named, failed.pk), ("run_errors", named, failed.pk), ("detail", "", first.pk)]
    spelled = set()
    for view, query, *args in asked:
        answer = get(query, view, *args)
        assert raw_parts(answer) == [], (view, query)
        if "\\u202eexe.\\u200bnimda\\u2066" in answer.source:
            spelled.add(view)
            spelled |= {element.get("class") for element in answer.root.iter("h1", "h2", "pre")}
    assert raw_parts(Dom(staff_client.get(reverse("layer_runs:live") + named))) == []
    assert raw_parts(get(f"?a={SPOOF}&b={first.pk}", "compare", status=404)) == []
    assert spelled >= {"list", "layers", "errors", "costs", "compare", "detail", "run_errors"}
    assert spelled >= {"lr-layer__name", "lr-title", "lr-raw"}  # of one layer, and of one error


def test_d13_no_menu_holds_one_but_in_what_it_sends(spoofed, staff_client):
    for name in CHOICES:
        headers = {"HX-Request": "true", "HX-Target": f"run-choices-{name}"}
        answer = Dom(staff_client.get(reverse("layer_runs:list"), {"period": "all"}, headers=headers))
        assert raw_parts(answer) == []
        # Ticked, it finds the same runs.
        assert getattr(spoofed[0], name) in {box.get("value") for box in answer.all("input")}, name


def test_d13_no_page_of_the_admin_holds_one(spoofed, client):
    can = ["view_layerrun", "view_run_details", "delete_layerrun", "prune_runs", "view_auditevent"]
    client.force_login(StaffFactory(can=can))
    pk = spoofed[0].pk
    runs, trail = (reverse(f"admin:layer_runs_{name}_changelist") for name in ("layerrun", "auditevent"))
    named = "?" + urlencode({"layer_name": spoofed[0].layer_name})
    of_run = [reverse(f"admin:layer_runs_layerrun_{page}", args=[pk]) for page in ("change", "delete", "history")]
    event = reverse("admin:layer_runs_auditevent_change", args=[AuditEvent.objects.get(actor=SPOOF).pk])

    def shown(response: HttpResponse) -> None:
        answer, page = Dom(response), response.request["PATH_INFO"]
        assert raw_parts(answer) == [], page
        assert "\\u202eexe." in answer.source, page

    for url in (runs, runs + named, f"{runs}?" + urlencode({"q": SPOOF}), *of_run, trail, event):
        shown(client.get(url))
    asked = {"action": "delete_selected", "_selected_action": [run.pk for run in spoofed]}
    shown(client.post(runs, asked))
    shown(client.post(runs + named, asked | {"select_across": "1"}))
    client.post(of_run[1], {"post": "yes"})
    assert not LayerRun.objects.filter(pk=pk).exists()
    # What went is named on the next page, and among the latest actions.
    shown(client.get(runs))
    shown(client.get(reverse("admin:index")))
    assert SPOOF not in str(spoofed[1])


def test_d13_a_field_cannot_be_forged_by_text_beside_it(spoofed):
    """What stands after the words of an attribute in a text is no attribute."""
    for text in (f'<p title="a value=">{SPOOF}</p>', f'<p title="&lt;input value=">{SPOOF}<b class="x"></b></p>'):
        assert raw_parts(Dom(HttpResponse(spelled_out(text)))) == []
    field = f'<input name="q" title="{SPOOF} value=" value="{SPOOF}" placeholder="{SPOOF}>">'
    assert spelled_out(field).count(SPOOF) == 1
    assert lxml.html.fromstring(spelled_out(field)).get("value") == SPOOF


def test_d13_what_is_downloaded_is_what_was_kept(spoofed, staff_client):
    kept = {run.layer_name for run in spoofed}
    for kind in ("csv", "json"):
        text = body(staff_client.get(reverse("layer_runs:export", args=[kind]) + "?period=all"))
        assert all(name in text or json.dumps(name) in text for name in kept)
    for view in ("layers_csv", "costs_csv", "errors_csv"):
        assert SPOOF in body(staff_client.get(reverse(f"layer_runs:{view}") + "?period=all"))


# -- sums


def copies(count: int, **columns: Any) -> None:
    """Write a run so many times over, in the database itself."""
    run = LayerRunFactory(**columns)
    names = [field.column for field in LayerRun._meta.concrete_fields if not field.generated and field.name != "id"]
    table, listed = LayerRun._meta.db_table, ", ".join(names)
    if count == 1:
        return
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (id, {listed}) {numbers}"
            f" SELECT '{run.pk}-' || i, {listed} FROM n, {table} WHERE id = %s",
            [run.pk],
        )


@pytest.mark.parametrize("view", ["list", "layers", "costs", "stats"])
def test_d15_the_largest_figures_of_so_many_runs_are_added_up_exactly(staff_client, dom, view):
    """Of 20,000, whose costs are beyond a bigint already; the tokens of a million would be a tenth of one."""
    most = Decimal("999999.999999999")
    copies(
        20_000,
        tokens_input=10**12,
        tokens_output=0,
        tokens_total=10**12,
        estimated_cost_usd=most,
        insights_created=2**31 - 1,
        unpriced_tokens=10**12,
    )
    answer = dom(staff_client.get(reverse(f"layer_runs:{view}")))
    if view in ("list", "stats"):
        stats = answer.stats
        assert (stats["total"], stats["tokens"]) == ("20000", str(20_000 * 10**12))
        assert stats["insights"] == str(20_000 * (2**31 - 1))
        assert Decimal(stats["cost"]) == 20_000 * most
    assert "$20,000,000,000.00" in answer.source


def test_d18_ten_thousand_times_a_millionth_of_a_dollar_are_a_cent(staff_client, dom):
    copies(10_000, estimated_cost_usd="0.000001")
    assert Decimal(dom(staff_client.get(reverse("layer_runs:stats"))).stats["cost"]) == Decimal("0.01")


@pytest.mark.parametrize("amounts", [[], ["0"], ["999999.999999999"] * 3, ["0.000000001", "0.999999999"], [None, "5"]])
@pytest.mark.parametrize("times", [1, 5_000])
def test_d15_d18_a_sum_of_money_is_the_sum_of_its_parts_on_either_side_of_the_largest_integer(db, amounts, times):
    """Three times 5,000 of the dearest runs are beyond it, 5,000 are not."""
    for amount in amounts:
        copies(times, id=f"{len(amounts)}-{LayerRun.objects.count()}", estimated_cost_usd=amount)
    known = [Decimal(amount) for amount in amounts if amount is not None]
    runs = LayerRun.objects.all()
    assert runs.aggregate(sum=SumOfUsd("estimated_cost_usd"))["sum"] == (sum(known) * times if known else None)
    dear = runs.aggregate(sum=SumOfUsd("estimated_cost_usd", filter=Q(estimated_cost_usd__gt=1)))["sum"]
    assert dear == (sum(amount for amount in known if amount > 1) * times or None)


# -- templates


COSTLY = re.compile(r"\|\s*(urlize\w*|wordwrap|truncate\w+_html|intcomma|floatformat|linebreaks\w*|striptags)\b")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_d29_no_template_puts_stored_text_through_a_filter_that_is_slow_on_long_text(path):
    assert COSTLY.findall(path.read_text()) == []


@pytest.mark.parametrize(
    "text", ["{{ a|urlize }}", "{{ a | wordwrap:5 }}", "{{ a|truncatechars_html:5 }}", "{{ a|floatformat }}"]
)
def test_d29_the_rule_finds_what_it_forbids(text):
    assert COSTLY.findall(text)


# -- many names


def test_d27_with_three_hundred_layers_a_page_is_no_longer_than_its_menu_and_its_rows(staff_client, dom):
    LayerRun.objects.bulk_create(LayerRunFactory.build(layer_name=f"layer-{n:03}-{'w' * 60}") for n in range(300))
    page = dom(staff_client.get(reverse("layer_runs:list")))
    assert len(page.run_ids) == 20
    assert len(page.source) < 300_000
    layers = dom(staff_client.get(reverse("layer_runs:layers")))
    assert layers.total == "300"


# -- clocks

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
NIGHTS = [
    (BERLIN, "2026-03-29T03:00+02:00", "spring"),
    (BERLIN, "2026-10-25T02:30+01:00", "autumn"),
    (NEW_YORK, "2026-03-08T03:00-04:00", "spring"),
    (NEW_YORK, "2026-11-01T01:30-05:00", "autumn"),
    (LORD_HOWE, "2026-10-04T02:30+11:00", "spring"),
    (LORD_HOWE, "2026-04-05T01:45+10:30", "autumn"),
]
VIEWS = ("list", "layers", "errors", "costs", "stats")


def in_buckets(answer: Dom) -> int:
    """What the table behind the timeline adds up to, bucket by bucket."""
    (chart,) = [svg for svg in answer.all("{*}svg") if svg.get("role") == "group"]
    (table,) = [each for each in answer.all("table") if answer.text(each.find("caption")) == chart.get("aria-label")]
    place = [answer.text(head) for head in table.findall("thead/tr/th")].index("All")
    cells = [answer.text(row[place]).replace(",", "") for row in table.findall("tbody/tr")]
    return sum(int(cell) for cell in cells if cell.isdigit())


# A time below nothing that is not called what it is.
NEGATIVE = re.compile(r"(?<!clock skew \()[-−]\d+(?:\.\d)? ?(?:ms|s|m|h|hours?|minutes?|days?)\b")


def agree(get: Callable[..., Dom], query: str, total: int) -> None:
    """See that every lens counts so many runs, and that the buckets of their timeline add up to them."""
    for view in VIEWS:
        answer = get(query, view)
        assert (answer.stats["total"] if view == "stats" else answer.total) == str(total), view
        assert NEGATIVE.findall(answer.text()) == [], view
    assert in_buckets(get(query)) == total


as_fragment = pytest.mark.parametrize("get", ["fragment"], indirect=True)


@as_fragment
@pytest.mark.parametrize(("zone", "moment", "season"), NIGHTS, ids=lambda value: str(value).rpartition("/")[2])
@pytest.mark.parametrize("period", ["24h", "all"])
def test_o07_t20_in_a_night_when_clocks_change_every_run_is_in_one_bucket(settings, get, zone, moment, season, period):
    settings.TIME_ZONE = zone
    change = datetime.fromisoformat(moment)
    with time_machine.travel(change + timedelta(hours=9), tick=False):
        for quarter in range(-12, 13):
            LayerRunFactory(started_at=change + timedelta(minutes=15 * quarter), took=timedelta(minutes=45))
        agree(get, f"?period={period}", 25)
        assert "clock skew" not in get(f"?period={period}&per_page=50").text()


@as_fragment
@pytest.mark.parametrize("zone", ["UTC", BERLIN, NEW_YORK])
@pytest.mark.parametrize("now", ["2024-02-29T12:00+00:00", "2026-01-01T00:00+00:00"])
def test_t20_runs_of_2000_of_a_leap_day_and_of_tomorrow_are_counted_on_their_day(settings, get, zone, now):
    settings.TIME_ZONE = zone
    moment = datetime.fromisoformat(now)
    with time_machine.travel(moment, tick=False):
        for started in ("2000-01-01T00:00+00:00", "2024-02-29T00:00+00:00", "2024-02-29T23:59:59.999999+00:00", now):
            LayerRunFactory(started_at=datetime.fromisoformat(started))
        ahead = LayerRunFactory(started_at=moment + timedelta(hours=23))
        agree(get, "?period=all", 5)
        agree(get, "?since=2024-02-29T00:00Z&until=2024-03-01T00:00Z", 3 if now.startswith("2024") else 2)
        assert "in 23 hours" in get("?period=all").row(ahead.pk)
        assert "in 23 hours" in get("", "detail", ahead.pk).text()


@as_fragment
def test_o07_t20_a_clock_that_is_set_back_an_hour_leaves_runs_ahead_and_says_so(get):
    noon = datetime.fromisoformat("2026-11-22T12:30+00:00")
    with time_machine.travel(noon, tick=False):
        before = LayerRunFactory(ago=timedelta(minutes=10), took=timedelta(minutes=5))
        open_run = LayerRunFactory(ago=timedelta(minutes=10), under_way=True)
    with time_machine.travel(noon - timedelta(hours=1), tick=False):
        LayerRunFactory(ago=timedelta(0))
        across = LayerRunFactory(started_at=noon - timedelta(minutes=1), completed_at=timezone.now())
        agree(get, "?period=24h", 4)
        answer = get("?period=24h")
        assert "in 50 minutes" in answer.row(before.pk)
        assert "no sign of life" not in answer.row(open_run.pk)
        assert "clock skew (−59m 00s)" in answer.row(across.pk)
        assert "clock skew (−59m 00s)" in get("", "detail", across.pk).text()


def test_d19_a_run_that_ends_before_it_starts_is_in_no_median(db):
    LayerRunFactory.create_batch(3, took=timedelta(seconds=10))
    LayerRunFactory.create_batch(5, took=timedelta(seconds=-3_000))
    by_layer, together = typical(LayerRun.objects.all(), "layer_name")
    assert list(by_layer.values()) == [together] == [Typical(3, 10_000, 10_000)]
