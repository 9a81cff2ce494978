from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from layer_runs import removals
from layer_runs.models import LayerRun, PruneMark, RemovedRun
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

MOMENT = datetime(2026, 10, 1, tzinfo=UTC)
EARLIER = MOMENT - timedelta(days=30)
INSTANT = timedelta(microseconds=1)


def removed() -> set[str]:
    return set(RemovedRun.objects.values_list("pk", flat=True))


# The ids of what was deleted


@pytest.mark.django_db
def test_a_deleted_run_leaves_its_id_its_source_and_its_start():
    run = LayerRunFactory(id="rome:1", source="rome", started_at=MOMENT)

    run.delete()

    assert list(RemovedRun.objects.values_list("pk", "source", "started_at")) == [("rome:1", "rome", MOMENT)]


@pytest.mark.django_db
def test_all_deleted_runs_of_a_selection_leave_their_ids_and_no_others():
    for name in ("a", "b", "c"):
        LlmCallFactory(run=LayerRunFactory(id=name, layer_name="old" if name != "c" else "new"))

    LayerRun.objects.filter(layer_name="old").delete()

    assert removed() == {"a", "b"}
    assert LayerRun.objects.get().pk == "c"


@pytest.mark.django_db
def test_a_run_that_was_deleted_twice_is_remembered_once():
    for _ in range(2):
        LayerRunFactory(id="a").delete()

    assert removed() == {"a"}


@pytest.mark.django_db
def test_what_is_removed_without_being_remembered_leaves_nothing():
    LayerRunFactory()

    LayerRun.objects.all().remove(remembered=False)

    assert (removed(), LayerRun.objects.count()) == (set(), 0)


@pytest.mark.django_db
def test_a_deletion_that_fails_leaves_no_id(monkeypatch):
    run = LayerRunFactory()

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("django.db.models.Model.delete", fail)
    with pytest.raises(RuntimeError):
        run.delete()

    assert removed() == set()


# How far back was pruned


@pytest.mark.parametrize(
    ("started_at", "failure", "is_covered"),
    [
        (MOMENT - INSTANT, False, True),
        (MOMENT, False, False),
        (MOMENT - INSTANT, True, False),
        (EARLIER, True, False),
        (EARLIER - INSTANT, True, True),
        (EARLIER - INSTANT, False, True),
    ],
)
def test_a_mark_covers_what_started_before_it(started_at, failure, is_covered):
    mark = PruneMark(before=MOMENT, failures_before=EARLIER)

    assert mark.covers({"started_at": started_at}, failure=failure) is is_covered


@pytest.mark.django_db
def test_a_mark_moves_forwards_and_never_back():
    def move(before: datetime, failures_before: datetime) -> tuple[datetime, datetime]:
        PruneMark.objects.move("rome", before=before, failures_before=failures_before)
        mark = PruneMark.objects.get(pk="rome")
        return mark.before, mark.failures_before

    assert move(MOMENT, EARLIER) == (MOMENT, EARLIER)
    assert move(EARLIER, EARLIER) == (MOMENT, EARLIER)
    # Each of the two by itself.
    assert move(EARLIER, EARLIER + INSTANT) == (MOMENT, EARLIER + INSTANT)
    assert move(MOMENT + INSTANT, EARLIER) == (MOMENT + INSTANT, EARLIER + INSTANT)


@pytest.mark.django_db
def test_ids_that_a_mark_covers_are_dropped_however_many_they_are(monkeypatch):
    monkeypatch.setattr(removals, "BATCH", 3)
    PruneMark.objects.create(source="rome", before=MOMENT, failures_before=EARLIER)
    for n in range(10):
        RemovedRun.objects.create(id=f"old{n}", source="rome", started_at=EARLIER - (n + 1) * INSTANT)
    # As a failure, it would not be covered; and nobody knows whether it was one.
    RemovedRun.objects.create(id="maybe", source="rome", started_at=EARLIER)
    RemovedRun.objects.create(id="elsewhere", source="", started_at=EARLIER - INSTANT)

    assert RemovedRun.objects.drop_covered() == 10

    assert removed() == {"maybe", "elsewhere"}


def test_both_are_called_by_what_they_are_about():
    moment = datetime(2026, 10, 10, 3, 0, tzinfo=UTC)
    assert str(RemovedRun(id="rome:r1", source="rome", started_at=moment)) == "rome:r1"
    assert str(PruneMark(source="", before=moment, failures_before=moment)) == "default: 2026-10-10 03:00"
