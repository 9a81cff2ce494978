"""The timeline: runs over time, stacked by status; each column leads to its own runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from django.db.models import Count
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket
from ..filters import LayerRunFilterSet
from ..models import Status
from ..querysets import LayerRunQuerySet

OTHER = "other"
# A run that ended in one of these went wrong.
WRONG = (Status.FAILED.value, Status.CRASHED.value, Status.PARTIAL.value)
# A note is for a stretch that went wrong, not for a single run.
NOTED_FROM = 2


@dataclass(frozen=True)
class Timeline:
    """What the page shows: a heading, the window in the words of the page, and the chart."""

    title: str
    sentence: str
    chart: charts.Bars


def timeline(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> list[Counter[str]]:
    """Return the number of runs that started in each bucket, by status; unknown ones are counted as `other`."""
    return [by_tone(counts) for counts in by_status(runs, buckets)]


def by_status(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> list[Counter[str]]:
    """Return the same by the statuses' own words, in one query."""
    found = [Counter() for _bucket in buckets]
    for row in runs.per_bucket(buckets, "status", runs=Count("*")):
        found[row["bucket"]][row["status"]] += row["runs"]
    return found


def by_tone(counts: Mapping[str, int]) -> Counter[str]:
    """Return counts by status as counts by tone: a known status is its own, all others are `other`."""
    found: Counter[str] = Counter()
    for status, number in counts.items():
        found[status if status in Status.values else OTHER] += number
    return found


def drawn(selection: LayerRunFilterSet, buckets: Sequence[Bucket], zone: tzinfo) -> Timeline | None:
    """Return the timeline of a selection, or nothing where it holds no time at all."""
    if not buckets:
        return None
    counts = by_status(selection.qs, buckets)
    unit, window = buckets[0].unit, selection.window
    names = charts.round_names(buckets)
    columns = [_column(selection, *each) for each in zip(buckets, names, map(by_tone, counts), strict=True)]
    title = _TITLES[unit]()
    return Timeline(
        title=title,
        sentence=formatting.stretch(window.since, window.until, selection.now, zone),
        chart=charts.bars(
            columns,
            list(_legend(selection, sum(counts, Counter()))),
            name="timeline",
            label=_("%s, stacked by status") % title,
            first=_FIRSTS[unit](),
        ),
    )


def _column(selection: LayerRunFilterSet, bucket: Bucket, label: str, counts: Counter[str]) -> charts.Column:
    runs = counts.total()
    note, note_tone = _note(counts)
    return charts.Column(
        name=bucket.name,
        label=label,
        parts=[
            charts.Part(tone, number, f"{formatting.count(number)} {word(tone)}") for tone, number in counts.items()
        ],
        url=selection.link(period=None, **bucket.params) if runs else "",
        total=formatting.plural(runs, "run") if runs else _("no run"),
        note=note,
        note_tone=note_tone,
    )


def _note(counts: Counter[str]) -> tuple[str, str]:
    """Return what stands above a column half or more of which went wrong, and the tone of most of that."""
    wrong = {tone: counts[tone] for tone in WRONG if counts[tone]}
    number = sum(wrong.values())
    if number < NOTED_FROM or number * 2 < counts.total():
        return "", ""
    most = max(wrong, key=wrong.__getitem__)
    said = word(most) if len(wrong) == 1 else _("went wrong")
    return f"{formatting.count(number)} {said}", most


def _legend(selection: LayerRunFilterSet, counts: Counter[str]) -> Iterator[charts.Series]:
    """Yield the statuses; each link adds its own to those that are chosen, or takes it away again.

    What is seldom seen is listed where there is some: running, and statuses of a source's own.
    """
    taken = selection.values.get("status", [])
    others = sorted(status for status in {*counts, *taken} if status not in Status.values)
    for tone in charts.TONES:
        own = others if tone == OTHER else [tone]
        is_taken = bool(own) and set(own) <= set(taken)
        if tone in (OTHER, Status.RUNNING) and not is_taken and not any(counts[status] for status in own):
            continue
        chosen = [status for status in taken if status not in own] if is_taken else [*taken, *own]
        # A run without any status cannot be asked for.
        url = selection.link(status=chosen) if all(own) else ""
        yield charts.Series(tone, word(tone), url, is_taken, ", ".join(own) if tone == OTHER else "")


def word(tone: str) -> str:
    """Return what a tone is called: a status by its own word, as on its badge."""
    return _("other") if tone == OTHER else tone


# Called late: the language is that of the request.
_TITLES = {
    "hour": lambda: _("Runs per hour"),
    "day": lambda: _("Runs per day"),
    "week": lambda: _("Runs per week"),
    "month": lambda: _("Runs per month"),
    "year": lambda: _("Runs per year"),
}
_FIRSTS = {
    "hour": lambda: _("Hour"),
    "day": lambda: _("Day"),
    "week": lambda: _("Week"),
    "month": lambda: _("Month"),
    "year": lambda: _("Year"),
}
