"""The table of runs: what its cells say, how it sorts and how it is paged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import html5lib
import pytest
from django.utils.html import escape

from layer_runs.columns import Look, badge
from layer_runs.models import LayerRun, Status
from layer_runs.tables import PAGE_SIZES, LayerRunTable, RunPaginator, page_size
from layer_runs.tests.factories import LayerRunFactory

NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
LOOK = Look(NOW, ZoneInfo("America/New_York"), lambda run: f"/runs/{run.pk}/?a=1&b=2")


@pytest.fixture
def run():
    def run(**fields) -> LayerRun:
        """A run as the database gives it back, without a database: the columns that it makes are given here."""
        made = LayerRunFactory.build(**({"started_at": NOW - timedelta(hours=28)} | fields))
        if made.estimated_cost_usd is not None:
            made.estimated_cost_usd = Decimal(made.estimated_cost_usd)
        values = {"duration_ms": 90_000, "error_count": 0, "error_preview": "", "error_node": ""} | fields
        for name in ("duration_ms", "error_count", "error_preview", "error_node"):
            made.__dict__[name] = values[name]
        return made

    return run


def said(name: str, run: LayerRun, look: Look = LOOK) -> str:
    return LayerRunTable.base_columns[name].text(run, look)


def dressed(name: str, run: LayerRun, look: Look = LOOK) -> str:
    return str(LayerRunTable.base_columns[name].html(run, look))


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("started_at", {}, "28 hours ago, Sat 04:30"),
        ("started_at", {"started_at": NOW + timedelta(minutes=10)}, "in 10 minutes, Sun 08:40"),
        ("layer_name", {"layer_name": "speak"}, "speak"),
        ("status", {"status": "exploded"}, "exploded"),
        ("targets", {}, "10 of 10"),
        ("targets", {"targets_matched": 0, "targets_processed": 0}, "none"),
        ("targets", {"targets_matched": 0, "targets_processed": 5}, "5 of 0"),
        ("insights", {"insights_created": 1234}, "1,234"),
        ("tokens", {}, "58,839"),
        ("tokens", {"tokens_total": None}, "–"),
        ("tokens", {"tokens_total": 0}, "0"),
        ("duration", {"duration_ms": None}, "–"),
        ("duration", {"duration_ms": -5000}, "clock skew (−5.0 s)"),
        ("duration", {"duration_ms": 41_400}, "41.4 s"),
        ("duration", {"duration_ms": 150_000}, "2m 30s"),
        ("duration", {"duration_ms": 7_500_000}, "2h 05m"),
        ("first_error", {}, ""),
        ("first_error", {"error_count": 1, "error_preview": "Boom."}, "Boom"),
        ("first_error", {"error_count": 1, "error_preview": "Boom.", "error_node": "fetch"}, "Boom, fetch"),
        ("first_error", {"error_count": 1001, "error_preview": "Boom."}, "Boom, and 1,000 more"),
        ("first_error", {"error_count": 1, "error_preview": ""}, "An error without a message"),
        ("first_error", {"status": "running"}, "no sign of life for 28 hours"),
        ("first_error", {"status": "running", "heartbeat_at": NOW - timedelta(minutes=59)}, ""),
        (
            "first_error",
            {"status": "running", "heartbeat_at": NOW - timedelta(minutes=60)},
            "no sign of life for 1 hour",
        ),
        ("first_error", {"status": "success"}, ""),
    ],
)
def test_a_column_knows_its_text(run, name, fields, text):
    assert said(name, run(**fields)) == text


@pytest.mark.parametrize("name", list(LayerRunTable.base_columns))
@pytest.mark.parametrize(
    "text",
    ["<script>window.x=1</script>", "x' onmouseover='y", 'x" onmouseover="y', "&lt;", "{{ x }}", "%s %(a)s", "{0}"],
)
def test_d01_d02_a_cell_keeps_a_strangers_text_a_text(run, name, text):
    html = dressed(name, run(layer_name=text, status=text[:32], error_count=2, error_preview=text, error_node=text))
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    assert tree.findall(".//script") == []
    assert [key for element in tree.iter() for key in element.attrib if key.startswith("on")] == []
    # And it is all there: nothing was taken for a mark-up of ours.
    if name in ("layer_name", "status"):
        assert "".join(tree.find("body").itertext()) == text[: 32 if name == "status" else None]


def test_the_layer_is_a_link_before_it_is_a_request(run):
    html = dressed("layer_name", run(id="a"))
    assert 'href="/runs/a/?a=1&amp;b=2" hx-get="/runs/a/?a=1&amp;b=2"' in html


def test_a_run_without_a_name_can_be_opened_all_the_same(run):
    assert ">(no name)<" in dressed("layer_name", run(layer_name=""))


@pytest.mark.parametrize("status", [*Status.values, "exploded", "", "<b>"])
def test_a_badge_is_an_icon_and_the_word(status):
    html = badge(status)
    assert f'data-status="{escape(status)}"' in html
    assert html.endswith(f"</svg>{escape(status) or 'no status'}</span>")
    assert f"#lr-{status if status in Status.values else 'other'}" in html


def test_nothing_is_quiet_and_failed_targets_are_called_out(run):
    assert "lr-zero" in dressed("tokens", run(tokens_total=0))
    assert "lr-zero" in dressed("cost", run(estimated_cost_usd=None))
    assert "lr-zero" not in dressed("tokens", run())
    assert dressed("targets", run(targets_skipped=1234)).endswith('<span class="lr-miss">1,234 failed</span>')
    assert "lr-miss" not in dressed("targets", run())


def test_every_column_says_in_its_cell_what_its_text_says(run):
    """The page and the admin never disagree, whatever dress the page puts on."""
    odd = run(status="failed", targets_skipped=0, error_count=3, error_preview="Boom & bust", estimated_cost_usd=None)
    for name in LayerRunTable.base_columns:
        words = " ".join("".join(html5lib.parse(dressed(name, odd)).itertext()).split())
        assert words.replace(",", "") == said(name, odd).replace(",", "")


# -- order


@pytest.mark.parametrize(
    ("sort", "taken"),
    [
        ("", "-started_at"),
        ("started_at", "started_at"),
        ("-cost", "-cost"),
        ("cost", "cost"),
        ("--cost", "-started_at"),
        ("layer_name", "-started_at"),
        ("status", "-started_at"),
        ("estimated_cost_usd", "-started_at"),
        ("cost,tokens", "-started_at"),
        ("?", "-started_at"),
    ],
)
def test_q05_it_takes_a_sort_it_offers_and_falls_back_to_the_newest_first(sort, taken):
    table = LayerRunTable(LayerRun.objects.none(), sort=sort, look=LOOK)
    assert table.sort == taken
    assert table.is_newest_first == (taken == "-started_at")


@pytest.mark.parametrize("name", ["started_at", "tokens", "cost", "duration"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_q07_every_order_ends_in_a_unique_key(name, sign):
    runs = LayerRunTable(LayerRun.objects.all(), sort=f"{sign}{name}", look=LOOK).data.data
    sql = str(runs.query).partition("ORDER BY ")[2]
    assert sql.removesuffix(" DESC").removesuffix(" ASC").endswith('"id"')
    assert name == "started_at" or "NULLS LAST" in sql or "IS NULL" in sql


def test_the_head_of_a_column_turns_its_order_around():
    def heads(sort):
        table = LayerRunTable(LayerRun.objects.none(), sort=sort, look=LOOK)
        return {head["label"]: head for head in table.headers(lambda **changes: changes["sort"])}

    assert [label for label, head in heads("").items() if "url" in head] == ["Started", "Tokens", "Cost", "Duration"]
    assert heads("")["Started"] == {
        "name": "started_at", "label": "Started", "css": "lr-c-started", "url": "started_at", "aria_sort": "descending"
    }  # fmt: skip
    assert heads("started_at")["Started"]["url"] is None
    assert heads("")["Cost"]["url"] == "-cost"
    assert heads("-cost")["Cost"]["url"] == "cost"
    assert heads("cost")["Cost"]["url"] == "-cost"
    assert [label for label, head in heads("cost").items() if "aria_sort" in head] == ["Cost"]


# -- pages


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ("1", 1),
        ("3", 3),
        ("4", 3),
        ("0", 1),
        ("-7", 1),
        ("", 1),
        ("x", 1),
        ("2.0", 1),
        (" 2 ", 2),
        ("9" * 5000, 3),
        ("-" + "9" * 5000, 1),
        ("\x00", 1),
    ],
)
def test_q04_any_page_number_leads_to_the_nearest_page(wanted, page):
    assert RunPaginator(range(45), 20, count=45).nearest(wanted) == page


def test_nothing_has_one_page():
    assert RunPaginator([], 20, count=0).nearest("7") == 1


@pytest.mark.parametrize(
    "wanted", ["", "0", "-5", "19", "21", "101", "1000000", "20 ", "020", "abc", "9" * 5000, "１００"]
)
def test_q01_any_other_page_size_is_the_first_of_the_list(wanted):
    assert page_size(wanted) == PAGE_SIZES[0] == 20


@pytest.mark.parametrize("size", PAGE_SIZES)
def test_the_page_sizes_of_the_list_are_taken(size):
    assert page_size(str(size)) == size
