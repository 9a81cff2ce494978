from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db.models import F, Max, Min, Sum

from layer_runs import demo
from layer_runs.models import ErrorLine, LayerRun, LlmCall, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def seed(at: datetime = NOON, **options: object) -> str:
    """Seed at this moment, as few days as possible, and return what was said."""
    said = StringIO()
    with time_machine.travel(at, tick=False):
        call_command("seed_demo_runs", stdout=said, **({"days": demo.LEAST_DAYS} | options))
    return said.getvalue()


def test_it_writes_the_runs_with_their_calls_and_their_errors():
    said = seed()
    runs = LayerRun.objects.all()
    assert f"{runs.count()} demo runs of 14 days, with {LlmCall.objects.count():,} LLM calls" in said
    assert set(runs.values_list("status", flat=True)) == set(Status.values)
    assert runs.filter(error_count=F("targets_skipped")).count() == runs.count()
    assert ErrorLine.objects.count() == runs.aggregate(errors=Sum("error_count"))["errors"] > 0


def test_its_sums_agree_in_the_database_too():
    seed()
    runs = LayerRun.objects.aggregate(cost=Sum("estimated_cost_usd"), tokens=Sum("tokens_total"))
    assert runs == LlmCall.objects.aggregate(cost=Sum("estimated_cost_usd"), tokens=Sum("tokens_total"))


def test_it_does_nothing_while_its_runs_are_recent():
    seed()
    before = set(LayerRun.objects.values_list("id", flat=True))
    assert "left as they are" in seed(NOON + timedelta(hours=11))
    assert set(LayerRun.objects.values_list("id", flat=True)) == before


def test_it_dates_its_runs_anew_when_they_are_stale():
    seed()
    later = NOON + timedelta(days=3)
    seed(later)
    span = LayerRun.objects.aggregate(first=Min("started_at"), last=Max("started_at"))
    assert span["last"] > later - timedelta(minutes=10)
    assert span["first"] >= later - timedelta(days=demo.LEAST_DAYS)


def test_it_can_be_told_to_make_them_anew():
    seed()
    LayerRun.objects.filter(status=Status.FAILED).delete()
    seed(force=True)
    assert LayerRun.objects.filter(status=Status.FAILED).exists()


def test_it_leaves_other_runs_alone():
    own = LlmCallFactory(run=LayerRunFactory(source=""))
    other = LayerRunFactory(source="zos-two")
    seed()
    seed(force=True)
    assert LlmCall.objects.filter(pk=own.pk, run=own.run).exists()
    assert LayerRun.objects.filter(pk=other.pk).exists()


def test_it_leaves_runs_alone_that_only_share_its_source_or_its_ids():
    # By an import that was named so, by a pipeline, and by one whose ids differ in nothing but case.
    kept = [LayerRunFactory(source="demo"), LayerRunFactory(id="demo:mine", source="zos")]
    kept.append(LayerRunFactory(id="DEMO:x", source="demo", started_at=NOON))
    assert "demo runs of 14 days" in seed()
    seed(force=True)
    assert LayerRun.objects.filter(pk__in=[run.pk for run in kept]).count() == 3


def test_it_keeps_the_old_runs_when_the_new_ones_cannot_be_written(monkeypatch):
    seed()
    before = set(LayerRun.objects.values_list("id", flat=True))
    monkeypatch.setattr(LlmCall.objects, "bulk_create", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        seed(force=True, at=NOON + timedelta(days=1))
    assert set(LayerRun.objects.values_list("id", flat=True)) == before


@pytest.mark.parametrize("days", [0, 13, 4000, -1])
def test_it_refuses_a_stretch_that_could_not_show_every_trouble(days):
    with pytest.raises(CommandError, match="give a number from 14 to 3650"):
        seed(days=days)
