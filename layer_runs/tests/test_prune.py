from __future__ import annotations

import io
import logging
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from layer_runs import retention
from layer_runs.audit import process_owner
from layer_runs.models import AuditEvent, ErrorLine, LayerRun, LlmCall, PruneMark, RemovedRun, RunUsage, Status
from layer_runs.retention import Pruning, Rule, read_span
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.tests.outside import OutsideWorld, go

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def prune(*arguments: str) -> str:
    """Prune, and return what was said."""
    said = io.StringIO()
    call_command("prune_layer_runs", *arguments, stdout=said)
    return said.getvalue()


def ids() -> list[str]:
    return sorted(LayerRun.objects.values_list("pk", flat=True))


def everything() -> list[list[tuple[object, ...]]]:
    models = (LayerRun, LlmCall, ErrorLine, RunUsage, AuditEvent, PruneMark, RemovedRun)
    return [list(model.objects.order_by("pk").values_list()) for model in models]


# What goes and what stays


@pytest.mark.django_db
def test_what_is_as_old_as_the_rule_says_goes_and_what_is_just_younger_stays(frozen):
    for n in range(6):
        LayerRunFactory(id=f"over{n}", started_at=NOW - 90 * DAY - n * INSTANT)
        LayerRunFactory(id=f"under{n}", started_at=NOW - 90 * DAY + (n + 1) * INSTANT)

    said = prune("--keep", "90d")

    assert ids() == [f"under{n}" for n in range(6)]
    assert said.startswith("6 runs of 1 layer pruned.\n")


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["failed", "partial", "crashed"])
def test_failures_are_kept_as_long_as_said(frozen, status):
    for n in range(6):
        LayerRunFactory(id=f"over{n}", status=status, started_at=NOW - 365 * DAY - n * INSTANT)
        LayerRunFactory(id=f"under{n}", status=status, started_at=NOW - 365 * DAY + (n + 1) * INSTANT)
        LayerRunFactory(id=f"other{n}", status="paused", started_at=NOW - 90 * DAY - n * INSTANT)

    prune("--keep", "90d", "--keep-failures", "1y")

    assert ids() == [f"under{n}" for n in range(6)]


@pytest.mark.django_db
def test_failures_go_with_all_others_unless_said(frozen):
    for status in Status.values:
        LayerRunFactory(id=status, status=status, started_at=NOW - 91 * DAY)

    prune("--keep", "90d")

    assert ids() == ["running"]


@pytest.mark.django_db
def test_c13_a_running_run_stays_however_old_it_is(frozen):
    LayerRunFactory(id="running", under_way=True, started_at=NOW - 4_000 * DAY)
    LayerRunFactory(id="ended", started_at=NOW - 4_000 * DAY)

    prune("--keep", "36h")

    assert ids() == ["running"]


@pytest.mark.django_db
def test_c13_a_run_that_turns_out_to_be_running_when_its_turn_comes_stays(frozen, monkeypatch):
    for name in ("one", "two", "three"):
        LayerRunFactory(id=name, started_at=NOW - 91 * DAY)
    batches = Pruning.batches

    def and_then_one_runs(pruning: Pruning) -> Iterator[list[str]]:
        for batch in batches(pruning):
            LayerRun.objects.filter(pk="two").update(status="running")
            yield batch

    monkeypatch.setattr(Pruning, "batches", and_then_one_runs)

    said = prune("--keep", "90d")

    assert ids() == ["two"]
    assert said.startswith("2 runs of")
    assert AuditEvent.objects.get().runs == 2


@pytest.mark.django_db
def test_the_newest_runs_of_each_layer_and_source_stay_whatever_their_age(frozen):
    for layer_name in ("nightly", "weekly"):
        for source in ("", "rome"):
            for n in range(4):
                LayerRunFactory(
                    id=f"{source}-{layer_name}-{n}",
                    layer_name=layer_name,
                    source=source,
                    started_at=NOW - (100 + n) * DAY,
                )
    LayerRunFactory(id="alone", layer_name="yearly", started_at=NOW - 900 * DAY)
    LayerRunFactory(id="young", layer_name="weekly", started_at=NOW - DAY)

    said = prune("--keep", "90d", "--keep-last", "2")

    kept = ["-nightly-0", "-nightly-1", "-weekly-0", "rome-nightly-0", "rome-nightly-1", "rome-weekly-0"]
    assert ids() == sorted([*kept, "rome-weekly-1", "alone", "young"])
    assert said.startswith("9 runs of 2 layers pruned.\n")
    assert "Oldest run kept: Wed 5 June 2024, 12:00:00 UTC.\n" in said


@pytest.mark.django_db
def test_what_started_at_the_same_moment_as_the_last_of_the_newest_stays_as_well(frozen):
    for name in ("a", "b", "c"):
        LayerRunFactory(id=name, started_at=NOW - 100 * DAY)
    LayerRunFactory(id="older", started_at=NOW - 100 * DAY - INSTANT)

    prune("--keep", "90d", "--keep-last", "2")

    assert ids() == ["a", "b", "c"]


@pytest.mark.django_db
def test_all_that_belongs_to_a_run_goes_with_it(frozen):
    for name, ago in (("old", 91), ("new", 89)):
        LlmCallFactory(run=LayerRunFactory(id=name, failing=True, started_at=NOW - ago * DAY))

    prune("--keep", "90d")

    assert set(LlmCall.objects.values_list("run", flat=True)) == {"new"}
    assert set(ErrorLine.objects.values_list("run", flat=True)) == {"new"}
    assert set(RunUsage.objects.values_list("run", flat=True)) == {"new"}


@pytest.mark.django_db
def test_runs_of_one_moment_are_all_found_across_batches(frozen, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 8)  # Two at first, eight at most.
    for n in range(25):
        LayerRunFactory(id=f"same{n}", started_at=NOW - 91 * DAY)
        LayerRunFactory(id=f"running{n}", under_way=True, started_at=NOW - 91 * DAY)

    assert prune("--keep", "90d").startswith("25 runs")
    assert len(ids()) == 25


# What is said


@pytest.mark.django_db
def test_it_says_how_many_runs_of_how_many_layers_went_and_what_they_cost(frozen):
    LayerRunFactory(layer_name="nightly", started_at=NOW - 91 * DAY, estimated_cost_usd="0.125")
    LayerRunFactory(layer_name="nightly", started_at=NOW - 92 * DAY, estimated_cost_usd="1234.5")
    LayerRunFactory(
        layer_name="weekly", started_at=NOW - 93 * DAY, estimated_cost_usd=None, unpriced_tokens=1_500, status="dry"
    )
    LayerRunFactory(started_at=NOW - 89 * DAY, estimated_cost_usd="7")
    LayerRunFactory(started_at=NOW - 88 * DAY)

    assert prune("--keep", "90d") == (
        "3 runs of 2 layers pruned.\n"
        "What they cost: $1,234.63 (estimate) + 1,500 unpriced tokens.\n"
        "Oldest run kept: Tue 25 August 2026, 12:00:00 UTC.\n"
    )


@pytest.mark.django_db
def test_it_says_so_where_nothing_is_left(frozen):
    LayerRunFactory(started_at=NOW - 91 * DAY)

    assert "Oldest run kept: –.\n" in prune("--keep", "90d")


def runs_of_every_kind() -> None:
    """Runs of all statuses and some layers, one a week for two years."""
    rng = random.Random(7)  # noqa: S311
    for n in range(104):
        LayerRunFactory(
            id=f"run{n:03}",
            layer_name=rng.choice(("nightly", "weekly", "monthly")),
            source=rng.choice(("", "rome")),
            status=rng.choice([*Status.values, "paused"]),
            started_at=NOW - 7 * n * DAY,
            estimated_cost_usd=rng.choice((None, "0.1", "2.000000001")),
            unpriced_tokens=rng.choice((0, 70)),
        )


RULES = [
    pytest.param(["--keep", "90d"], id="all"),
    pytest.param(["--keep", "12w", "--keep-failures", "1y"], id="failures"),
    pytest.param(["--keep", "36h", "--keep-last", "3"], id="last"),
    pytest.param(["--keep", "26w", "--keep-failures", "365d", "--keep-last", "1"], id="both"),
    pytest.param(["--keep", "3y"], id="nothing"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("rule", RULES)
def test_a_dry_run_says_the_same_numbers_and_changes_nothing(frozen, rule):
    runs_of_every_kind()
    RemovedRun.objects.create(id="gone", started_at=NOW - 800 * DAY)
    before = everything()

    said = prune(*rule, "--dry-run")

    assert everything() == before
    assert said.startswith("A dry run: nothing was deleted.\n")
    expected = said.removeprefix("A dry run: nothing was deleted.\n").replace("would be pruned", "pruned")
    assert prune(*rule) == expected


@pytest.mark.django_db
@pytest.mark.parametrize("rule", RULES)
def test_it_deletes_what_plain_python_would(frozen, rule):
    runs_of_every_kind()
    options = dict(zip(rule[::2], rule[1::2], strict=True))
    keep = read_span(options["--keep"])
    keep_failures = read_span(options.get("--keep-failures", options["--keep"]))
    last = int(options.get("--keep-last", 0))
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for run in LayerRun.objects.order_by("-started_at"):
        layer = (run.layer_name, run.source)
        seen[layer] = seen.get(layer, 0) + 1
        span = keep_failures if run.status in ("failed", "partial", "crashed") else keep
        if run.status == "running" or seen[layer] <= last or NOW - run.started_at < span:
            kept.append(run.pk)

    prune(*rule)

    assert ids() == sorted(kept)


# Rules that cannot be read


@pytest.mark.parametrize(
    ("text", "span"),
    [("36h", 36 * timedelta(hours=1)), ("90d", 90 * DAY), ("12w", 84 * DAY), ("1y", 365 * DAY), ("100y", 36_500 * DAY)],
)
def test_a_span_is_hours_days_weeks_or_years(text, span):
    assert read_span(text) == span


@pytest.mark.parametrize(
    "text",
    ["90", "", "d", "0d", "-1d", "1.5d", "90 d", "90D", "1m", "1y2d", "90d\n", "٩d", "101y", "999999999y", "9" * 5_000],
)
@pytest.mark.django_db
def test_what_is_no_span_is_refused_and_nothing_deleted(text):
    LayerRunFactory(ago=4_000 * DAY)

    for arguments in ([f"--keep={text}"], ["--keep=1d", f"--keep-failures={text}"]):
        with pytest.raises(CommandError, match="is no span of time: use hours, days, weeks or years") as refusal:
            prune(*arguments)
        assert refusal.value.returncode == 2
    assert (LayerRun.objects.count(), AuditEvent.objects.count()) == (1, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--keep", "90d", "--keep-failures", "89d"], "Failures are kept at least as long as other runs."),
        (["--keep", "90d", "--keep-last", "-1"], "The newest runs to keep of each layer are a number from 0."),
        (["--keep", "90d", "--keep-last", "few"], "invalid int value"),
        ([], "the following arguments are required: --keep"),
    ],
)
def test_a_rule_that_says_nothing_sensible_is_refused(arguments, reason):
    LayerRunFactory(ago=4_000 * DAY)

    with pytest.raises(CommandError, match=reason):
        prune(*arguments)

    assert LayerRun.objects.count() == 1


# The trail and the mark


@pytest.mark.django_db
def test_it_leaves_a_trail(frozen, caplog):
    for ago in (91, 92, 93):
        LayerRunFactory(started_at=NOW - ago * DAY)

    with caplog.at_level(logging.INFO, "layer_runs.audit"):
        prune("--keep", "90d", "--keep-failures", "1y", "--keep-last", "1")

    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.runs) == ("prune", process_owner(), 2)
    assert event.what == "keep runs of the last 90 days, failures of the last 365 days, the newest 1 of each layer"
    assert caplog.messages[-1].endswith(f"{event.what} (2 runs)")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(DAY, DAY), "keep runs of the last 1 day"),
        (
            Rule(DAY / 2, DAY, 5),
            "keep runs of the last 12 hours, failures of the last 1 day, the newest 5 of each layer",
        ),
    ],
)
def test_a_rule_is_said_in_words(rule, words):
    assert str(rule) == words


@pytest.mark.django_db
def test_it_marks_the_sources_that_runs_were_pruned_of(frozen):
    LayerRunFactory(source="rome", started_at=NOW - 91 * DAY)
    LayerRunFactory(source="paris", started_at=NOW - 89 * DAY)
    LayerRunFactory(source="oslo", started_at=NOW - 91 * DAY, status="failed")

    prune("--keep", "90d", "--keep-failures", "1y")

    mark = PruneMark.objects.get()
    assert (mark.source, mark.before, mark.failures_before) == (
        "rome",
        NOW - 90 * DAY + INSTANT,
        NOW - 365 * DAY + INSTANT,
    )


@pytest.mark.django_db
def test_the_mark_is_there_before_the_first_run_goes(frozen, monkeypatch):
    LayerRunFactory(started_at=NOW - 91 * DAY)

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("the disk is full" if PruneMark.objects.exists() else "there is no mark")

    monkeypatch.setattr(type(LayerRun.objects.all()), "remove", fail)

    with pytest.raises(RuntimeError, match="the disk is full"):
        prune("--keep", "90d")
    # What was not deleted is not marked.
    assert (LayerRun.objects.count(), PruneMark.objects.count(), AuditEvent.objects.get().runs) == (1, 0, 0)


@pytest.mark.django_db
def test_it_forgets_the_ids_that_the_mark_covers_as_well(frozen):
    LayerRunFactory(source="rome", started_at=NOW - 400 * DAY)
    for name, source, ago in (("old", "rome", 366), ("new", "rome", 364), ("other", "paris", 366)):
        RemovedRun.objects.create(id=name, source=source, started_at=NOW - ago * DAY)

    prune("--keep", "90d", "--keep-failures", "1y")

    assert set(RemovedRun.objects.values_list("pk", flat=True)) == {"new", "other"}


@pytest.mark.django_db
def test_it_remembers_no_ids_of_its_own(frozen):
    LayerRunFactory(started_at=NOW - 91 * DAY)

    prune("--keep", "90d")

    assert not RemovedRun.objects.exists()


# Signals, kills and others at work


def signalling(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Let these signals arrive after each batch."""
    delete, count = Pruning.delete, Pruning.count

    def and_signal(act: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: Any) -> None:
            act(*arguments)
            for number in numbers:
                os.kill(os.getpid(), number)

        return wrapped

    monkeypatch.setattr(retention, "BATCH", 20)  # Five at first.
    monkeypatch.setattr(Pruning, "delete", and_signal(delete))
    monkeypatch.setattr(Pruning, "count", and_signal(count))


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_after_the_batch_in_hand(frozen, monkeypatch, number, code):
    for n in range(12):
        LayerRunFactory(id=f"run{n:02}", started_at=NOW - (200 - n) * DAY)
    said = io.StringIO()
    with monkeypatch.context() as patch, pytest.raises(CommandError) as stop:
        signalling(patch, number)
        call_command("prune_layer_runs", "--keep", "90d", stdout=said)

    assert (stop.value.returncode, str(stop.value)) == (
        code,
        f"Stopped by {signal.Signals(number).name}. Run it again to go on.",
    )
    assert ids() == [f"run{n:02}" for n in range(5, 12)]
    assert said.getvalue().startswith("5 runs of 1 layer pruned.\n")
    assert "Oldest run kept: Mon 11 May 2026, 12:00:00 UTC.\n" in said.getvalue()
    assert AuditEvent.objects.get().runs == 5
    assert prune("--keep", "90d").startswith("7 runs")


@pytest.mark.django_db
def test_a_dry_run_that_was_stopped_does_not_say_what_would_stay(frozen, monkeypatch):
    for n in range(12):
        LayerRunFactory(started_at=NOW - (200 - n) * DAY)
    said = io.StringIO()
    signalling(monkeypatch, signal.SIGTERM)

    with pytest.raises(CommandError):
        call_command("prune_layer_runs", "--keep", "90d", "--dry-run", stdout=said)

    assert "5 runs of 1 layer would be pruned." in said.getvalue()
    assert "Oldest" not in said.getvalue()


@pytest.mark.django_db
def test_a_batch_shrinks_where_it_takes_long_and_grows_where_it_does_not(frozen, monkeypatch):
    for n in range(60):
        LayerRunFactory(started_at=NOW - (200 + n) * DAY)
    monkeypatch.setattr(retention, "BATCH", 40)
    sizes = []
    delete = Pruning.delete

    def keep_size(pruning: Pruning, ids: list[str], event: AuditEvent) -> None:
        sizes.append(len(ids))
        monkeypatch.setattr(retention, "SHORT", 60 if len(sizes) < 3 else -1)
        monkeypatch.setattr(retention, "LONG", 60 if len(sizes) < 3 else -1)
        delete(pruning, ids, event)

    monkeypatch.setattr(Pruning, "delete", keep_size)

    prune("--keep", "90d")

    assert sizes == [10, 20, 30]
    monkeypatch.setattr(retention, "LONG", -1)
    for n in range(60):
        LayerRunFactory(started_at=NOW - (200 + n) * DAY)
    sizes.clear()
    sizes += [0, 0, 0]
    prune("--keep", "90d")
    assert sizes[3:] == [10] * 6


@pytest.fixture
def outside(transactional_db: None, tmp_path: Path) -> OutsideWorld:
    return OutsideWorld(tmp_path / "copy.sqlite3")


def old_runs(number: int, calls: int) -> None:
    """Make many old runs with calls and errors, and a running one and a young one beside every hundred."""
    now = timezone.now()
    runs = []
    for n in range(number):
        row = {"layer_name": f"layer{n % 5}", "started_at": now - 100 * DAY - n * timedelta(minutes=1)}
        errors = [{"topic": "t", "error": f"boom {n}", "node": "n"}]
        runs.append(LayerRun(id=f"old{n:05}", status="success", errors=errors, estimated_cost_usd="0.001", **row))
        if n % 100 == 0:
            runs.append(LayerRun(id=f"running{n:05}", status="running", **row))
            runs.append(LayerRun(id=f"young{n:05}", status="success", layer_name="layer0", started_at=now))
    LayerRun.objects.bulk_create(runs)
    LlmCall.objects.bulk_create(
        [
            LlmCall(id=f"{run.pk}-{n}", run=run, topic="t", tokens_total=1, estimated_cost_usd=Decimal("0.0001"))
            for run in runs
            for n in range(calls)
        ]
    )


def orphans() -> int:
    runs = LayerRun.objects.values("pk")
    return sum(model.objects.exclude(run__in=runs).count() for model in (LlmCall, ErrorLine, RunUsage))


def test_t10_killed_at_any_moment_it_ends_with_the_same_runs_when_run_again(outside):
    old_runs(1_500, calls=2)
    outside.send()
    before = outside.count_runs()
    for _ in range(2):
        process = outside.start("prune_layer_runs", "--keep", "90d")
        at_first = outside.count_runs()
        go(process)
        while outside.count_runs() == at_first and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.random() / 5)  # noqa: S311
        process.kill()
        process.communicate()
        outside.fetch()
        assert orphans() == 0
        # The trail of one that was killed says how far it came.
        assert sum(AuditEvent.objects.values_list("runs", flat=True)) == before - LayerRun.objects.count()

    process = outside.start("prune_layer_runs", "--keep", "90d")
    said, complaint = process.communicate("go\n")

    assert (process.returncode, "Traceback" in complaint) == (0, False), complaint
    outside.fetch()
    assert ids() == sorted(f"{name}{n:05}" for name in ("running", "young") for n in range(0, 1_500, 100))
    assert orphans() == 0
    events = list(AuditEvent.objects.order_by("id").values_list("runs", flat=True))
    assert (len(events), sum(events)) == (3, 1_500)
    assert f"{events[-1]:,} runs" in said


def test_c13_others_read_and_write_while_it_prunes(outside):
    old_runs(1_500, calls=4)
    outside.send()
    process = outside.start("prune_layer_runs", "--keep", "90d")
    waits, seen, over = [], [], threading.Event()

    def execute(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """A statement in a transaction of its own, as another program would."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(outside.file, timeout=20, isolation_level=None)) as other:
            return other.execute(sql.replace("%s", "?"), values).fetchall()

    def work() -> None:
        moment = connection.ops.adapt_datetimefield_value(timezone.now())
        while not over.is_set() or len(waits) < 10:
            begun = time.monotonic()
            execute(
                "INSERT INTO layer_runs_layerrun (id, layer_name, started_at) VALUES (%s, 'live', %s)",
                f"live{len(waits):06}",
                moment,
            )
            waits.append(time.monotonic() - begun)
            # A transaction sees a run with all its calls, or neither.
            seen.append(
                execute(
                    "SELECT count(*) FROM layer_runs_llmcall AS call LEFT JOIN layer_runs_layerrun AS run"
                    " ON run.id = call.run_id WHERE run.id IS NULL"
                )
            )
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    go(process)
    _said, complaint = process.communicate()
    over.set()
    worker.join()

    assert (process.returncode, "Traceback" in complaint) == (0, False), complaint
    outside.fetch()
    assert LayerRun.objects.filter(layer_name="live").count() == len(waits)
    assert LayerRun.objects.filter(pk__startswith="old").count() == 0
    assert LayerRun.objects.filter(status="running", pk__startswith="running").count() == 15
    assert {rows[0][0] for rows in seen} == {0}
    assert max(waits) < 3, "a writer waited for longer than a batch may take, even on a busy machine"


def test_what_another_writes_right_now_is_left_for_the_next_time(outside, frozen):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one write at a time")
    for name in ("one", "two"):
        LayerRunFactory(id=name, started_at=NOW - 91 * DAY)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("UPDATE layer_runs_layerrun SET insights_created = 3 WHERE id = 'two'")
            held.set()
            done.wait(10)
            cursor.execute("COMMIT")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    said = prune("--keep", "90d")
    done.set()
    holder.join()

    assert (said.startswith("1 run of"), ids()) == (True, ["two"])
    prune("--keep", "90d")
    assert ids() == []
