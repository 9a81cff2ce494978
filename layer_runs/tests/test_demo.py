from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from layer_runs import demo
from layer_runs.models import LayerRun, LlmCall, Status

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def made() -> list[demo.DemoRun]:
    return list(demo.invent(NOON, 60))


@pytest.fixture(scope="module")
def runs(made) -> list[LayerRun]:
    return [run.row for run in made]


@pytest.fixture(scope="module")
def calls(made) -> list[LlmCall]:
    return [call for run in made for call in run.calls]


def failing_share(runs: list[LayerRun]) -> float:
    return sum(run.status in {Status.FAILED, Status.PARTIAL} for run in runs) / len(runs)


def test_it_fills_sixty_days_up_to_now(runs):
    started = [run.started_at for run in runs]
    assert NOON - timedelta(days=60) <= min(started) < NOON - timedelta(days=59)
    assert NOON - timedelta(minutes=10) < max(started) < NOON
    assert all(run.completed_at < NOON for run in runs if run.completed_at)
    assert 600 < len(runs) < 1_200


def test_it_marks_its_runs_as_its_own(runs):
    assert {run.source for run in runs} == {"demo"}
    assert all(run.id.startswith("demo:") for run in runs)


def test_it_runs_nightly_layers_between_three_and_ten_past_four(runs):
    nightly = [run for run in runs if run.layer_name.startswith("nightly-") and run.status != Status.CRASHED]
    minutes = [run.started_at.hour * 60 + run.started_at.minute for run in nightly]
    assert 3 * 60 <= min(minutes) <= max(minutes) <= 4 * 60 + 10


def test_it_has_runs_of_every_status_and_mostly_successes(runs):
    assert {run.status for run in runs} == set(Status)
    assert sum(run.status == Status.SUCCESS for run in runs) > 0.7 * len(runs)


def test_it_has_a_night_on_which_nothing_worked(runs):
    night = NOON.replace(hour=0) - timedelta(days=demo.OUTAGE_NIGHTS_AGO)
    hit = [run for run in runs if night <= run.started_at < night + timedelta(hours=6) and run.targets_matched]
    assert len(hit) >= 6
    assert {run.status for run in hit} == {Status.FAILED}


def test_it_has_a_layer_version_that_fails_until_the_next_one(runs):
    of_layer = [run for run in runs if run.layer_name == demo.BAD_LAYER]
    versions = list(dict.fromkeys(run.layer_hash for run in of_layer))
    assert versions[1:] == [demo.BAD_HASH, demo.MENDED_HASH]
    before, bad, after = ([run for run in of_layer if run.layer_hash == version] for version in versions)
    assert failing_share(bad) > 0.6
    assert failing_share(bad) > 3 * max(failing_share(before), failing_share(after))


def test_it_has_a_target_that_always_fails(runs, calls):
    failed = [error for run in runs for error in run.errors if error["topic"] == demo.FAILING_TOPIC]
    assert len(failed) > 10
    assert not any(call.success for call in calls if call.topic == demo.FAILING_TOPIC)


def test_it_has_a_model_without_a_price(runs, calls):
    unpriced = [call for call in calls if call.estimated_cost_usd is None]
    assert {call.model_name for call in unpriced} == {"gemma3:27b"}
    assert sum(run.unpriced_tokens > 0 for run in runs) > 10
    assert sum(run.unpriced_tokens for run in runs) == sum(call.tokens_total for call in unpriced)


def test_it_has_a_run_that_crashed_and_one_under_way(runs):
    (crashed,) = (run for run in runs if run.status == Status.CRASHED)
    (running,) = (run for run in runs if run.status == Status.RUNNING)
    assert (crashed.completed_at, running.completed_at) == (None, None)
    assert crashed.heartbeat_at < NOON - timedelta(days=1)
    assert running.silence(NOON) < timedelta(minutes=1)


def test_it_gives_each_run_the_status_that_zos_would_have_given(runs):
    for run in runs:
        if run.completed_at:
            assert run.status == Status.of(
                processed=run.targets_processed, failed=run.targets_skipped, insights=run.insights_created
            )
        assert run.targets_matched >= run.targets_processed + run.targets_skipped
        assert len(run.errors) == run.targets_skipped


def test_its_costs_and_tokens_are_the_sums_of_its_calls(made):
    for run in made:
        costs = [call.estimated_cost_usd for call in run.calls if call.estimated_cost_usd is not None]
        expected = None if run.calls and not costs else sum(costs, Decimal(0))
        assert run.row.estimated_cost_usd == expected
        assert run.row.tokens_input == sum(call.tokens_input for call in run.calls)
        assert run.row.tokens_output == sum(call.tokens_output for call in run.calls)
        assert run.row.tokens_total == sum(call.tokens_input + call.tokens_output for call in run.calls)


def test_it_is_the_same_every_time_it_is_made(runs):
    again = [run.row for run in demo.invent(NOON, 60)]
    assert [(run.id, run.status, run.tokens_total) for run in again] == [
        (run.id, run.status, run.tokens_total) for run in runs
    ]


@pytest.mark.parametrize("days", [demo.LEAST_DAYS, 30])
def test_it_shows_every_trouble_however_far_back_it_goes(days):
    runs = [run.row for run in demo.invent(NOON, days)]
    assert {run.status for run in runs} == set(Status)
    assert demo.BAD_HASH in {run.layer_hash for run in runs}
    assert any(run.unpriced_tokens for run in runs)
    assert min(run.started_at for run in runs) >= NOON - timedelta(days=days)


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_it_can_be_made_at_any_hour(hour):
    made = list(demo.invent(NOON.replace(hour=hour, minute=31), demo.LEAST_DAYS))
    ids = [run.row.id for run in made] + [call.id for run in made for call in run.calls]
    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 64
