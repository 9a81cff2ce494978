"""Every lens, and every file, says the same of the same runs: and what plain Python says of them."""

from __future__ import annotations

import csv
import io
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.http import QueryDict
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from layer_runs.buckets import buckets
from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses import timeline
from layer_runs.models import LayerRun, LlmCall, Status
from layer_runs.tests.conftest import FRAGMENTS, client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

pytestmark = pytest.mark.django_db
ZONE = ZoneInfo("America/New_York")
# Two days after the clocks went back there, in the evening: a window of days holds one of 25 hours.
NOW = datetime(2026, 11, 3, 23, 30, tzinfo=UTC)
SINCE = datetime(2026, 10, 28, 4, tzinfo=UTC)
LAYERS, MODELS, NODES = ("reflect-users", "share", "speak"), ("haiku", "sonnet"), ("fetch", "llm_call", "store")
STATUSES = ("success", "success", "success", "partial", "failed", "dry", "crashed", "running", "exploded")
MESSAGES = ("Connection error.", "Error code: 429 - too many", "Error code: 529 - overloaded")
COUNTING = ("success", "partial", "failed", "crashed")
FIGURES = ("calls", "tokens_input", "tokens_output", "cost_usd")


@dataclass
class Told:
    """A run as it was told to the database, with its calls and errors as plain values."""

    run: LayerRun
    calls: list[LlmCall] = field(default_factory=list)

    @property
    def cost(self) -> Decimal:
        return Decimal(self.run.estimated_cost_usd or 0)

    @property
    def tokens(self) -> list[int]:
        return [self.run.tokens_input or 0, self.run.tokens_output or 0]

    @property
    def seconds(self) -> Decimal | None:
        ended, status = self.run.completed_at, self.run.status
        if ended is None or status in ("dry", "running"):
            return None
        return Decimal((ended - self.run.started_at) // timedelta(milliseconds=1)) / 1000

    @property
    def wasted(self) -> Decimal:
        if self.run.status in ("failed", "crashed"):
            return self.cost
        failed = {error["topic"] for error in self.run.errors}
        return sum((call.estimated_cost_usd or Decimal(0) for call in self.calls if call.topic in failed), Decimal(0))


def told(number: int, chance: random.Random) -> Told:
    """A run of the twelve days before now: with calls or without, with and without prices, errors and an end."""
    started = NOW - timedelta(seconds=chance.randrange(12 * 86_400), microseconds=chance.randrange(10**6))
    started = chance.choice([started, started.replace(hour=4, minute=0, second=0, microsecond=0)])
    status = chance.choice(STATUSES)
    wrong = chance.randrange(1, 4) if status in ("partial", "failed") or chance.random() < 0.1 else 0
    errors = [
        {"topic": f"user:{chance.randrange(5)}", "error": chance.choice(MESSAGES), "node": chance.choice(NODES)}
        for _ in range(wrong)
    ]
    run = LayerRunFactory.build(
        id=f"run-{number}",
        # One layer ran before the window of seven days alone.
        layer_name="retired" if started < SINCE and chance.random() < 0.3 else chance.choice(LAYERS),
        layer_hash=chance.choice("ab"),
        model_name=chance.choice(MODELS),
        started_at=started,
        completed_at=None if status == "running" else started + timedelta(milliseconds=chance.randrange(300_000)),
        status=status,
        insights_created=chance.randrange(9),
        errors=errors,
    )
    calls = [
        LlmCallFactory.build(
            run=run,
            topic=f"user:{chance.randrange(5)}",
            call_type=chance.choice(("filter", "reflection", "")),
            model_name=chance.choice(MODELS),
            tokens_input=(given := chance.randrange(5_000)),
            tokens_output=(made := chance.randrange(500)),
            tokens_total=given + made,
            estimated_cost_usd=None if chance.random() < 0.1 else Decimal(chance.randrange(1, 10**9)).scaleb(-9),
        )
        for _ in range(chance.choice((0, 1, 3, 6)))
    ]
    if calls:
        priced = [call.estimated_cost_usd for call in calls if call.estimated_cost_usd is not None]
        # A few say more than their calls do.
        more = Decimal("0.000000001") if chance.random() < 0.1 else Decimal(0)
        run.tokens_input, run.tokens_output = (
            sum(getattr(call, name) for call in calls) for name in ("tokens_input", "tokens_output")
        )
        run.tokens_total = run.tokens_input + run.tokens_output
        run.unpriced_tokens = sum(call.tokens_total for call in calls if call.estimated_cost_usd is None)
        run.estimated_cost_usd = sum(priced, more)
    elif chance.random() < 0.2:
        run.estimated_cost_usd, run.unpriced_tokens = None, run.tokens_total
    return Told(run, calls)


@pytest.fixture(scope="module")
def invented() -> list[Told]:
    chance = random.Random(20261103)  # noqa: S311
    return [told(number, chance) for number in range(100)]


@pytest.fixture
def world(db, settings, invented) -> Iterator[list[Told]]:
    settings.TIME_ZONE = "America/New_York"
    LayerRun.objects.bulk_create(each.run for each in invented)
    LlmCall.objects.bulk_create(call for each in invented for call in each.calls)
    with time_machine.travel(NOW, tick=False):
        yield invented


@dataclass
class Pages:
    """What the site says of a selection: its cards and rows, and its files."""

    client: Client
    query: str

    def page(self, name: str) -> str:
        headers = {"HX-Request": "true", "HX-Target": FRAGMENTS[name]}
        return self.client.get(reverse(f"layer_runs:{name}") + self.query, headers=headers).content.decode()

    def file(self, name: str) -> list[dict[str, str]]:
        answer = self.client.get(reverse(f"layer_runs:{name}_csv") + self.query)
        assert answer.status_code == 200
        return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


# By the hooks alone: reading every page as a browser does would take most of the time.
CARD = re.compile(r'data-stat="(\w+)" data-value="([^"]+)"')


def cards(page: str) -> dict[str, Decimal]:
    """Return the figures of the cards."""
    return {name: Decimal(value) for name, value in CARD.findall(page)}


def rows_of(page: str, hook: str) -> list[str]:
    """Return what the rows with this hook are about."""
    return re.findall(rf'<tr[^>]* {hook}="([^"]*)"', page)


def nearest_rank(values: Iterable[Decimal], percent: int) -> str:
    ordered = sorted(values)
    return f"{ordered[math.ceil(percent * len(ordered) / 100) - 1].normalize():f}" if ordered else ""


def plain(text: str) -> str:
    return f"{Decimal(text).normalize():f}" if text else ""


SELECTIONS: list[tuple[str, Callable[[Told], bool]]] = [
    ("", lambda each: each.run.started_at >= SINCE),
    ("period=all", lambda each: True),
    # A day of 25 hours.
    ("since=2026-11-01&until=2026-11-01", lambda each: each.run.started_at.astimezone(ZONE).day == 1),
    ("layer_name=share&layer_name=speak", lambda each: each.run.started_at >= SINCE and each.run.layer_name[0] == "s"),
    ("period=all&status=partial&status=exploded", lambda each: each.run.status in ("partial", "exploded")),
    (
        "period=all&exclude_layer=speak&model_name=haiku",
        lambda each: each.run.layer_name != "speak" and each.run.model_name == "haiku",
    ),
    ("period=all&has_errors=1&min_cost=0.5", lambda each: bool(each.run.errors) and each.cost >= Decimal("0.5")),
    ("period=all&layer_hash=b&has_errors=0", lambda each: each.run.layer_hash == "b" and not each.run.errors),
    ("layer_name=nobody", lambda each: False),
]


@pytest.fixture(params=SELECTIONS, ids=[query or "seven days" for query, _ in SELECTIONS])
def selected(request, world) -> tuple[Pages, list[Told]]:
    query, is_in = request.param
    return Pages(client_of(StaffFactory()), f"?{query}"), [each for each in world if is_in(each)]


def test_every_page_and_file_agrees_with_plain_python(selected, world):
    pages, runs = selected
    statuses = Counter(each.run.status for each in runs)
    cost = sum((each.cost for each in runs), Decimal(0))
    given, made = (sum(each.tokens[place] for each in runs) for place in (0, 1))
    _runs_and_timeline(pages, runs, statuses, cost, given + made)
    _layers(pages, runs, cost)
    _costs(pages, runs, cost, given, made)
    _errors(pages, runs, world)


def test_a_layer_that_ran_before_the_window_alone_is_the_only_one_silent(world):
    rows = Pages(client_of(StaffFactory()), "?period=7d").file("layers")
    ran = {each.run.layer_name for each in world if each.run.started_at >= SINCE}
    assert {row["layer_name"] for row in rows if row["silent"] == "1"} == {"retired"}
    assert {row["layer_name"] for row in rows} == ran | {"retired"}


def _runs_and_timeline(pages: Pages, runs: list[Told], statuses: Counter[str], cost: Decimal, tokens: int) -> None:
    told = cards(pages.page("list"))
    known = {status: statuses[status] for status in Status.values}
    assert told == known | {
        "total": len(runs),
        "other": len(runs) - sum(known.values()),
        "insights": sum(each.run.insights_created for each in runs),
        "tokens": tokens,
        "cost": cost,
    }
    chosen = LayerRunFilterSet(QueryDict(pages.query[1:]), LayerRun.objects.all(), now=NOW)
    cut = buckets(chosen.window, LayerRun.objects.started_bounds(), NOW, timezone.get_default_timezone())
    drawn = sum(timeline.timeline(chosen.qs, cut), Counter())
    assert drawn == +Counter({name: int(told[name]) for name in (*Status.values, "other")})


def _layers(pages: Pages, runs: list[Told], cost: Decimal) -> None:
    rows = pages.file("layers")
    ran = [row for row in rows if row["silent"] == "0"]
    assert {row["layer_name"] for row in ran} == {each.run.layer_name for each in runs}
    assert sum(int(row["runs"]) for row in ran) == len(runs)
    assert sum((Decimal(row["cost_usd"]) for row in ran), Decimal(0)) == cost
    for row in ran:
        mine = [each for each in runs if each.run.layer_name == row["layer_name"]]
        counting = [each for each in mine if each.run.status in COUNTING]
        rate = sum(each.run.status == "success" for each in counting) / len(counting) if counting else None
        times = [each.seconds for each in mine if each.seconds is not None]
        assert row["success_rate"] == ("" if rate is None else str(rate))
        assert [plain(row[name]) for name in ("p50_seconds", "p95_seconds")] == [
            nearest_rank(times, 50),
            nearest_rank(times, 95),
        ]
    shown = rows_of(pages.page("layers"), "data-layer")
    assert sorted(shown) == sorted(row["layer_name"] for row in rows)


def _costs(pages: Pages, runs: list[Told], cost: Decimal, given: int, made: int) -> None:
    expected: defaultdict[tuple[str, ...], list] = defaultdict(lambda: [0, 0, 0, Decimal(0)])

    def add(each: Told, model: str, call_type: str, *figures) -> None:
        key = (each.run.started_at.astimezone(ZONE).date().isoformat(), each.run.layer_name, model, call_type)
        expected[key] = [mine + more for mine, more in zip(expected[key], figures, strict=True)]

    for each in runs:
        rest = [*each.tokens, each.cost]
        for call in each.calls:
            said = [call.tokens_input, call.tokens_output, call.estimated_cost_usd or Decimal(0)]
            add(each, call.model_name, call.call_type, 1, *said)
            rest = [mine - less for mine, less in zip(rest, said, strict=True)]
        if not each.calls:
            add(each, each.run.model_name, "", 0, *rest)
        elif any(rest):
            add(each, "", "", 0, *rest)

    rows = pages.file("costs")
    found = {
        (row["day"], row["layer_name"], row["model_name"], row["call_type"]): [Decimal(row[name]) for name in FIGURES]
        for row in rows
    }
    assert len(found) == len(rows)
    assert found == expected
    told = cards(pages.page("costs"))
    assert {name: told[name] for name in ("cost", "tokens_input", "tokens_output", "wasted", "unpriced")} == {
        "cost": cost,
        "tokens_input": given,
        "tokens_output": made,
        "wasted": sum((each.wasted for each in runs), Decimal(0)),
        "unpriced": sum(bool(each.run.unpriced_tokens) for each in runs),
    }


def _errors(pages: Pages, runs: list[Told], world: list[Told]) -> None:
    def groups(of: list[Told]) -> dict[tuple[str, str], list[tuple[str, str, datetime]]]:
        found = defaultdict(list)
        for each in of:
            for error in each.run.errors:
                found[error["error"], error["node"]].append((each.run.id, error["topic"], each.run.started_at))
        return found

    def figures(errors: int, runs: int, targets: int, first: datetime, last: datetime) -> tuple:
        return errors, runs, targets, first, last

    ever = {key: [at for _run, _topic, at in lines] for key, lines in groups(world).items()}
    expected = Counter(
        figures(
            len(lines),
            len({line[0] for line in lines}),
            len({line[1] for line in lines}),
            min(ever[key]),
            max(ever[key]),
        )
        for key, lines in groups(runs).items()
    )
    rows = pages.file("errors")
    moments = ((datetime.fromisoformat(row["first_seen"]), datetime.fromisoformat(row["last_seen"])) for row in rows)
    assert expected == Counter(
        figures(*(int(row[name]) for name in ("errors", "runs", "targets")), *seen)
        for row, seen in zip(rows, moments, strict=True)
    )
    shown = rows_of(pages.page("errors"), "data-fingerprint")
    assert sorted(shown) == sorted(row["fingerprint"] for row in rows)
