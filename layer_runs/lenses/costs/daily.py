"""What was spent a day, layer, model and call type: rows for a file, read in stretches of days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from ...buckets import days
from ...querysets import LayerRunQuerySet
from ...windows import Window
from .spending import Sums, all_uses

# Days read at once: few enough to hold, many enough to be quick.
DAYS_AT_ONCE = 31


@dataclass(frozen=True)
class DaysUse:
    """What the runs of one day and layer used of a model for one purpose."""

    day: date
    layer: str
    model: str
    call_type: str
    sums: Sums


def daily(runs: LayerRunQuerySet, zone: tzinfo) -> Iterator[DaysUse]:
    """Yield a row a day of `zone`, layer, model and call type, in this order. They add up to the runs.

    What a run says beyond its calls counts under no model and no call type.
    """
    start = _next_start(runs, None)
    while start is not None:
        end = start.astimezone(zone) + timedelta(days=DAYS_AT_ONCE)
        cut = list(days(Window(None, None), (start, end), end, zone))[:DAYS_AT_ONCE]
        sums: defaultdict[tuple[int, str, str, str], Sums] = defaultdict(Sums)
        for use in all_uses(runs, cut):
            sums[use.bucket, use.layer, use.model, use.call_type] += use.sums
        for (place, *names), used in sorted(sums.items()):
            yield DaysUse(cut[place].start.date(), *names, used)
        # From run to run: years in which nothing ran cost nothing.
        start = _next_start(runs, cut[-1].end)


def _next_start(runs: LayerRunQuerySet, since: datetime | None) -> datetime | None:
    return runs.within(Window(since, None)).order_by("started_at").values_list("started_at", flat=True).first()
