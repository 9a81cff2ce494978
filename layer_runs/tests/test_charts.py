"""Numbers to coordinates: what is drawn is as high as its number, where its time is, and never in the way of a text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import html5lib
import pytest
from django.template.loader import render_to_string

from layer_runs import charts
from layer_runs.buckets import Bucket
from layer_runs.charts.axis import axis
from layer_runs.charts.bars import THINNEST, shown_heights

APP = Path(charts.__file__).parents[1]
HEIGHT = 86


def bars(*stacks: dict[str, object] | charts.Column, **extra) -> charts.Bars:
    """A chart of a column a day, each given by its values by tone."""
    columns = [
        stack
        if isinstance(stack, charts.Column)
        else charts.Column(f"day {n}", f"{n} Nov", [(tone, value, f"{value} {tone}") for tone, value in stack.items()])
        for n, stack in enumerate(stacks, 1)
    ]
    series = [charts.Series(tone, tone) for tone in (*charts.TONES, *charts.SERIES)]
    return charts.bars(columns, series, label="Runs per day", first="Day", **extra)


def heights(chart: charts.Bars) -> list[float]:
    return [sum(float(shape.height) for shape in column.shapes) for column in chart.columns]


def number(percent: str) -> float:
    return float(percent.removesuffix("%"))


def days(count: int, start: datetime = datetime(2026, 8, 24, tzinfo=UTC)) -> list[Bucket]:
    edges = [start + timedelta(days=n) for n in range(count + 1)]
    return [Bucket(*edge, "day") for edge in zip(edges, edges[1:], strict=False)]


# -- the axis


@pytest.mark.parametrize(
    ("largest", "unit", "texts"),
    [
        (0, charts.COUNT, ["0"]),
        (1, charts.COUNT, ["0", "1"]),
        (2, charts.COUNT, ["0", "1", "2"]),
        (3, charts.COUNT, ["0", "1", "2", "3"]),
        (4, charts.COUNT, ["0", "2", "4"]),
        (18, charts.COUNT, ["0", "10", "20"]),
        (75, charts.COUNT, ["0", "25", "50", "75"]),
        (76, charts.COUNT, ["0", "50", "100"]),
        (24_214_728, charts.COUNT, ["0", "10M", "20M", "30M"]),
        (Decimal(0), charts.USD, ["$0"]),
        (Decimal("5.97"), charts.USD, ["$0", "$2", "$4", "$6"]),
        (Decimal("6.01"), charts.USD, ["$0", "$2.50", "$5", "$7.50"]),
        (Decimal("0.0499"), charts.USD, ["$0", "$0.02", "$0.04", "$0.06"]),
        (Decimal("0.000000001"), charts.USD, ["$0", "$0.000000001"]),
        (Decimal("48123.5"), charts.USD, ["$0", "$20K", "$40K", "$60K"]),
        (47, charts.MILLISECONDS, ["0", "20 ms", "40 ms", "60 ms"]),
        (1_400, charts.MILLISECONDS, ["0", "500 ms", "1 s", "1.5 s"]),
        (41_400, charts.MILLISECONDS, ["0", "15 s", "30 s", "45 s"]),
        (80_000, charts.MILLISECONDS, ["0", "30 s", "1m", "1m 30s"]),
        (155_000, charts.MILLISECONDS, ["0", "1m", "2m", "3m"]),
        (5_000_000, charts.MILLISECONDS, ["0", "30m", "1h", "1h 30m"]),
        (100_000_000, charts.MILLISECONDS, ["0", "12h", "1 d", "1.5 d"]),
    ],
)
def test_an_axis_has_round_numbers_of_its_unit(largest, unit, texts):
    assert [tick.text for tick in axis(largest, unit).ticks] == texts


@pytest.mark.parametrize("unit", [charts.COUNT, charts.USD, charts.MILLISECONDS])
@pytest.mark.parametrize("largest", [1, 2, 3, 7, 11, 26, 99, 101, 12_345, 10**9 + 1, 10**15])
def test_an_axis_holds_its_largest_value_without_wasting_half_of_its_height(largest, unit):
    scale = axis(Decimal(largest) if unit is charts.USD else largest, unit)
    assert largest <= scale.top <= 2 * largest
    assert len(scale.ticks) <= 4
    steps = {later.value - tick.value for tick, later in zip(scale.ticks, scale.ticks[1:], strict=False)}
    assert len(steps) == 1


# -- stacked columns


def test_a_column_is_as_high_as_its_sum_on_the_axis():
    stacks = [{"success": 9, "dry": 1}, {"failed": 11}, {"failed": 2, "partial": 8, "dry": 4, "success": 6}]
    assert heights(bars(*stacks)) == pytest.approx([sum(stack.values()) / 20 * HEIGHT for stack in stacks], abs=0.11)


def test_the_parts_stand_on_each_other_from_trouble_at_the_baseline_to_success_on_top():
    chart = bars(dict.fromkeys(reversed(charts.TONES), 5))
    (column,) = chart.columns
    assert [shape.tone for shape in column.shapes] == list(charts.TONES)
    lower = float(chart.base)
    for shape in column.shapes:
        assert float(shape.y) + float(shape.height) == pytest.approx(lower)
        lower = float(shape.y)


def test_a_part_too_thin_to_be_seen_is_seen_and_the_column_no_higher_for_it():
    (column,) = bars({"failed": 1, "success": 9_999}).columns
    failed, success = column.shapes
    assert float(failed.height) == THINNEST
    assert float(failed.height) + float(success.height) == pytest.approx(HEIGHT, abs=0.11)


@pytest.mark.parametrize("values", [[1], [1, 1], [1, 1, 1], [0, 1, 50_000], [1, 1, 1, 99_997]])
def test_what_is_there_is_never_thinner_than_can_be_seen_and_what_is_not_has_no_height(values):
    shown = shown_heights(values, axis(100_000, charts.COUNT), HEIGHT)
    assert all((height >= THINNEST) is bool(value) for value, height in zip(values, shown, strict=True))
    assert sum(shown) == pytest.approx(max(sum(values) / 100_000 * HEIGHT, THINNEST * len([v for v in values if v])))


def test_where_nothing_ran_is_a_gap_and_what_came_to_nothing_is_none():
    chart = bars(charts.Column("a", "a"), charts.Column("b", "b", [("s1", Decimal(0), "$0")], note="$0"), {"s1": 2})
    assert [column.gap for column in chart.columns] == [True, False, False]
    assert [len(column.shapes) for column in chart.columns] == [0, 0, 1]
    assert [note.text for note in chart.notes] == ["$0"]


def test_a_chart_of_nothing_is_an_axis_of_nothing():
    chart = bars()
    assert ([line.text for line in chart.lines], chart.columns, chart.labels, chart.table.rows) == (["0"], [], [], [])
    assert heights(bars({}, {})) == [0, 0]


@pytest.mark.parametrize("count", [1, 2, 7, 24, 30, 60, 92])
def test_the_columns_divide_the_width_and_can_be_hit_all_over(count):
    columns = bars(*[{"success": 1}] * count).columns
    assert [number(column.x) for column in columns] == pytest.approx([100 * n / count for n in range(count)], abs=0.01)
    assert sum(number(column.width) for column in columns) == pytest.approx(100, abs=0.5)
    for column in columns:
        middle = number(column.bar_x) + number(column.bar_width) / 2
        assert middle == pytest.approx((number(column.x) + number(column.end)) / 2, abs=0.02)
        assert 0 < number(column.bar_width) < number(column.width)


def test_huge_numbers_and_money_are_drawn_to_scale_and_written_exactly():
    chart = bars({"success": 10**18}, {"success": 5 * 10**17})
    assert heights(chart) == pytest.approx([HEIGHT, HEIGHT / 2], abs=0.11)
    assert chart.table.rows[0].texts == ["1,000,000,000,000,000,000"] * 2
    money = bars({"s1": Decimal("3.515"), "s2": Decimal("2.455")}, {"s2": Decimal("0.03")}, unit=charts.USD)
    assert heights(money)[0] == pytest.approx(5.97 / 6 * HEIGHT, abs=0.11)
    assert money.table.foot == ["All", "$3.515", "$2.485", "$6.000"]


def test_the_title_of_a_column_says_its_sum_and_its_parts_the_worst_first():
    column = charts.Column(
        "Sat 7 Nov 2026", "7 Nov", [("success", 3, "3 success"), ("failed", 1, "1 failed")], "", "4 runs"
    )
    (drawn,) = bars(column).columns
    assert drawn.title == "Sat 7 Nov 2026: 4 runs, 1 failed, 3 success"


def test_the_table_has_the_same_numbers_and_their_sums():
    table = bars({"success": 9, "failed": 1}, {}, {"success": 1_000, "dry": 2}).table
    assert table.heads == ["Day", "failed", "dry", "success", "All"]
    assert [(row.name, *row.texts) for row in table.rows] == [
        ("day 1", "1", "0", "9", "10"),
        ("day 2", "0", "0", "0", "0"),
        ("day 3", "0", "2", "1,000", "1,002"),
    ]
    assert table.foot == ["All", "1", "2", "1,009", "1,012"]
    root, _text = drawn("table", table=table)
    quiet = [cell.text for cell in root.findall(".//td") if "lr-zero" in cell.get("class")]
    assert quiet == ["0"] * 6


def test_the_series_beyond_the_sixth_share_one():
    names = charts.named("abcdefgh", "4 others")
    assert [names[name].tone for name in "abcdefgh"] == ["s1", "s2", "s3", "s4", "s5", "s6", "rest", "rest"]
    assert {names[name].name for name in "gh"} == {"4 others"}


# -- texts never overlap


def reach(text: str, x: str, anchor: str, width: float) -> tuple[float, float]:
    """From where to where a text of 11 px reaches on a plot of this width, each character as wide as a wide digit."""
    length, at = len(text) * 6.5, number(x) / 100 * width
    left = at - {"start": 0, "middle": length / 2, "end": length}[anchor]
    return left, left + length


def are_apart(extents: list[tuple[float, float]]) -> bool:
    extents = sorted(extents)
    return all(right < left for (_start, right), (left, _end) in zip(extents, extents[1:], strict=False))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 13, 24, 30, 48, 60, 92])
@pytest.mark.parametrize("text", ["7 Nov", "14:00", "Nov 2026", "22 Nov 2026"])
def test_labels_never_overlap_and_the_last_one_is_there(count, text):
    labels = charts.labels([f"{text}"] * count)
    narrow = [label for label in labels if not label.css]
    assert are_apart([reach(label.text, label.x, label.anchor, 570) for label in labels])
    assert are_apart([reach(label.text, label.x, label.anchor, 310) for label in narrow])
    assert number(labels[-1].x) > 100 - 100 / count - 0.01
    assert narrow[-1] == labels[-1]
    assert all(label.css == "lr-minor" for label in labels if label not in narrow)


def test_of_many_days_the_mondays_are_named_and_the_last_one():
    assert [name for name in charts.round_names(days(30)) if name] == [
        "24 Aug",
        "31 Aug",
        "7 Sep",
        "14 Sep",
        "21 Sep",
        "22 Sep",
    ]
    assert charts.round_names(days(3)) == ["24 Aug", "25 Aug", "26 Aug"]
    assert charts.round_names([]) == []


def test_a_label_stands_below_the_middle_of_its_column():
    labels = charts.labels(["", "a", "", "b"])
    assert [(label.text, label.x, label.anchor) for label in labels] == [
        ("a", "37.50%", "middle"),
        ("b", "87.50%", "middle"),
    ]


def with_notes(*columns: tuple[int, str], **extra) -> charts.Bars:
    """A chart of columns of so many failed runs, each with a note or none."""
    return bars(
        *(
            charts.Column(f"{n}", "", [("failed", runs, "")], note=note, **extra)
            for n, (runs, note) in enumerate(columns)
        )
    )


@pytest.mark.parametrize("width", [570, 310])
def test_a_note_covers_neither_another_nor_a_column(width):
    runs = [(n * 7 % 19 + 1) for n in range(40)]
    chart = with_notes(*((n, f"{n} failed" if n > 12 else "") for n in runs))
    left_out = "lr-narrow" if width > 400 else "lr-minor"
    notes = [note for note in chart.notes if note.css != left_out]
    assert notes
    extents = [reach(note.text, note.x, note.anchor, width) for note in notes]
    assert are_apart(extents)
    assert all(left >= 0 and right <= width for left, right in extents)
    for note in notes:
        left, right = reach(note.text, note.x, note.anchor, 900 if width > 400 else width)
        wide = 900 if width > 400 else width
        below = [
            float(column.shapes[-1].y)
            for column in chart.columns
            if number(column.bar_x) / 100 * wide < right
            and (number(column.bar_x) + number(column.bar_width)) / 100 * wide > left
        ]
        assert float(note.y) < min(below)


def test_a_note_keeps_to_the_side_where_its_column_is_the_higher():
    (note,) = with_notes(*[(3, "")] * 10, (9, "9 failed"), *[(20, "")] * 19).notes
    assert note.anchor == "end"
    assert float(note.y) == pytest.approx(103 - 9 / 20 * HEIGHT - 5, abs=0.2)


def test_of_two_notes_in_one_place_the_worse_one_stays():
    columns = [{"partial": 9}, {"failed": 2}, *[{"success": 1}] * 60]
    chart = bars(
        charts.Column("a", "", [("partial", 9, "")], note="9 partial", note_tone="partial"),
        charts.Column("b", "", [("failed", 2, "")], note="2 failed"),
        *columns[2:],
    )
    assert {note.text for note in chart.notes} == {"2 failed"}


# -- the outcome grid


@pytest.mark.parametrize(
    ("counts", "tone"),
    [
        ({}, ""),
        ({"failed": 0}, ""),
        ({"success": 9, "failed": 1}, "failed"),
        ({"success": 1, "crashed": 1, "partial": 5}, "crashed"),
        ({"dry": 3, "success": 1}, "dry"),
        ({"other": 1, "dry": 3}, "other"),
    ],
)
def test_the_worst_status_of_a_cell_wins(counts, tone):
    assert charts.worst(counts) == tone


def test_a_cell_stands_in_the_middle_of_its_slot_and_says_what_ran():
    row = [
        charts.Cell("Fri", "failed", "1 failed, 2 success", "/x/"),
        charts.Cell("Sat"),
        charts.Cell("Sun", missing=True),
        charts.Cell("Mon", "success", "1 success"),
    ]
    chart = charts.cells(row, label="Outcomes")
    assert [(cell.title, cell.kind, cell.middle) for cell in chart.cells] == [
        ("Fri: 1 failed, 2 success", "failed", "12.50%"),
        ("Sat", "none", "37.50%"),
        ("Sun", "missed", "62.50%"),
        ("Mon: 1 success", "success", "87.50%"),
    ]


def test_trouble_is_bigger_also_where_cells_are_thin():
    kinds = ["success", "failed", "crashed", "partial", "dry", "other"]
    chart = charts.cells([charts.Cell("", kind) for kind in kinds * 15], label="Outcomes")
    assert chart.dense
    sizes = {cell.kind: cell.height for cell in chart.cells}
    assert min(sizes[kind] for kind in ("failed", "crashed", "partial")) > max(
        sizes[k] for k in ("success", "dry", "other")
    )
    assert all(cell.y >= 0 and cell.y + cell.height <= 20 for cell in chart.cells)


@pytest.mark.parametrize(("count", "dense"), [(0, False), (31, False), (32, True), (92, True)])
def test_a_month_of_days_has_glyphs_and_more_than_that_has_thin_columns(count, dense):
    assert charts.cells([charts.Cell("", "success")] * count, label="").dense is dense


# -- points


def dots(*values: int | None, **extra) -> charts.Dots:
    points = [charts.Dot(n / 10, value, f"run {n}", "failed", f"/{n}/", "failed") for n, value in enumerate(values)]
    return charts.dots(points, label="Duration", heads=["Run", "Duration", "Status"], **extra)


def test_a_point_is_as_high_as_its_value():
    chart = dots(60_000, 120_000, 0)
    assert [float(dot.y) for dot in chart.dots] == pytest.approx(
        [float(chart.base) - part * 72 for part in (0.5, 1, 0)]
    )
    assert [dot.x for dot in chart.dots] == ["0.00%", "10.00%", "20.00%"]


def test_a_run_without_a_value_is_in_the_table_only():
    chart = dots(1_000, None)
    assert [dot.title for dot in chart.dots] == ["run 0: 1.0 s, failed"]
    assert [(row.name, *row.texts) for row in chart.table.rows] == [
        ("run 0", "1.0 s", "failed"),
        ("run 1", "–", "failed"),
    ]


def test_a_negative_duration_stays_on_the_baseline_and_is_named_for_what_it_is():
    chart = dots(-5_000, 10_000)
    assert chart.dots[0].y == chart.base
    assert "clock skew" in chart.dots[0].title


def test_a_level_is_drawn_to_the_scale_of_the_points_even_above_them_all():
    chart = dots(1_000, levels=[charts.Level(0, 0.5, 4_000, "median")])
    (level,) = chart.levels
    assert (level.start, level.end) == ("0.00%", "50.00%")
    assert float(chart.base) - float(level.y) == pytest.approx(72 * 4 / 4, abs=0.1)
    assert chart.lines[-1].text == "4 s"


def test_a_mark_is_named_where_there_is_room_for_its_name():
    marks = [charts.Mark(at, f"v{n} b2c768bc") for n, at in enumerate((0.0, 0.02, 0.3, 0.98), 1)]
    chart = dots(1, marks=marks)
    assert [mark.text for mark in chart.marks] == ["", "v2 b2c768bc", "v3 b2c768bc", "v4 b2c768bc"]
    assert [mark.title for mark in chart.marks] == [mark.text for mark in marks]
    assert chart.marks[-1].anchor == "end"


def test_moments_lie_in_their_order_and_each_within_its_bucket():
    buckets = days(4)
    # A day of 23 hours is as wide as any other.
    buckets[1] = replace(buckets[1], end=buckets[1].end - timedelta(hours=1))
    buckets[2] = replace(buckets[2], start=buckets[1].end)
    moments = [buckets[0].start + timedelta(hours=n) for n in range(96)]
    places = [charts.place(moment, buckets) for moment in moments]
    assert places == sorted(places)
    for moment, at in zip(moments, places, strict=True):
        (index,) = [n for n, bucket in enumerate(buckets) if bucket.start <= moment < bucket.end]
        assert index / 4 < at < (index + 1) / 4


@pytest.mark.parametrize("hours", [-1_000, 1_000])
def test_a_moment_beyond_the_axis_stays_on_it(hours):
    assert 0 < charts.place(days(3)[0].start + timedelta(hours=hours), days(3)) < 1


# -- tiny columns


def test_rows_of_tiny_columns_share_one_scale():
    low, high = charts.spark([0, 5], top=50), charts.spark([50, 0], top=50)
    assert [float(bar.height) for bar in (*low.bars, *high.bars)] == pytest.approx([2.3, 23.0])
    assert low.bars[0].x == "55.00%"


def test_a_tiny_column_of_nothing_is_not_drawn_and_one_of_little_is_seen():
    chart = charts.spark([0, 1, 10**6], top=10**6)
    assert [float(bar.height) for bar in chart.bars] == [THINNEST, 23.0]
    assert charts.spark([], top=1).bars == []
    assert charts.spark([0, 0], top=0).bars == []


# -- the templates

HOSTILE = "\"'><script>window.x=1</script><b onclick=x>"


def drawn(name: str, **context):
    """What a browser makes of a template."""
    text = render_to_string(f"layer_runs/_chart_{name}.html", context)
    return html5lib.parseFragment(text, namespaceHTMLElements=False), text


@pytest.fixture(params=["bars", "dots", "cells", "spark"])
def any_chart(request):
    """Each chart, with hostile texts wherever one can be, as its template's name and its context."""
    column = charts.Column(HOSTILE, HOSTILE, [("failed", 2, HOSTILE)], f"/x/?q={HOSTILE}", HOSTILE, note=HOSTILE)
    chart = {
        "bars": lambda: charts.bars(
            [column], [charts.Series("failed", HOSTILE)], label=HOSTILE, first=HOSTILE, name=HOSTILE
        ),
        "dots": lambda: charts.dots(
            [charts.Dot(0.5, 1, HOSTILE, "failed", f"/x/?q={HOSTILE}", HOSTILE)],
            label=HOSTILE,
            heads=[HOSTILE] * 3,
            marks=[charts.Mark(0.1, HOSTILE)],
            levels=[charts.Level(0, 1, 1, HOSTILE)],
            labels=charts.labels([HOSTILE]),
        ),
        "cells": lambda: charts.cells([charts.Cell(HOSTILE, "failed", HOSTILE, f"/x/?q={HOSTILE}")], label=HOSTILE),
        "spark": lambda: charts.spark([1], top=1, label=HOSTILE),
    }[request.param]()
    return request.param, {"chart": chart, "swaps": True}


def test_a_hostile_text_stays_a_text(any_chart):
    name, context = any_chart
    root, text = drawn(name, **context)
    assert HOSTILE not in text
    assert not [element.tag for element in root.iter() if element.tag.endswith(("script", "}b")) or element.tag == "b"]
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    assert HOSTILE in [element.get("aria-label") for element in root.findall(".//{*}svg")]


def test_no_chart_needs_a_style_of_its_own(any_chart):
    name, context = any_chart
    root, _text = drawn(name, **context)
    assert not [element.tag for element in root.iter() if element.get("style") or element.tag == "style"]


@pytest.mark.parametrize("swaps", [True, False])
def test_only_links_within_the_lens_swap_and_all_of_them_are_links(swaps):
    column = charts.Column("Sat", "Sat", [("failed", 1, "1 failed")], "/x/?a=1&b=2", "1 run")
    root, _text = drawn("bars", chart=bars(column, {}), swaps=swaps)
    links = root.findall(".//{*}a")
    assert [link.get("href") for link in links] == ["/x/?a=1&b=2"] * 2
    assert [link.get("hx-get") for link in links] == (["/x/?a=1&b=2"] if swaps else [None]) * 2
    assert links[0].get("aria-label") == "Sat: 1 run, 1 failed"
    assert links[0].find("{*}title").text == "Sat: 1 run, 1 failed"
    assert links[0].find("{*}rect").get("width") == "50.00%"


def test_a_status_is_told_by_more_than_its_colour():
    """By its pattern, or by a rule of its own in the stylesheet that is about more than the fill."""
    root, _text = drawn("bars", chart=bars(dict.fromkeys(charts.TONES, 5)))
    fills = {
        part.get("data-tone"): part.get("fill") for part in root.findall(".//{*}rect") if part.get("class") == "lr-part"
    }
    assert {tone for tone, fill in fills.items() if fill} == {"partial", "crashed"}
    sprite = render_to_string("layer_runs/_icons.html")
    for tone in ("partial", "crashed"):
        assert fills[tone] == f"url(#lr-p-{tone})"
        assert f'<pattern id="lr-p-{tone}"' in sprite
    for tone in (*charts.TONES, "none", "missed"):
        assert f'id="lr-cell-{tone}"' in sprite
    for tone in charts.TONES:
        assert f'id="lr-dot-{tone}"' in sprite


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(("theme", "ground"), [(0, "#ffffff"), (1, "#121212"), (2, "#121212")])
def test_every_series_stands_out_from_the_ground_in_both_themes(theme, ground):
    css = (APP / "static/layer_runs/charts.css").read_text()
    for tone in charts.SERIES:
        colour = re.findall(rf"--lr-{tone}: (#\w{{6}})", css)[theme]
        assert contrast(colour, ground) >= 3, (tone, colour)
