"""The cost over time, stacked by model or by layer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from django.utils.translation import gettext as _

from ... import charts, formatting
from ...buckets import Bucket
from ...charts.labels import round_names
from ...filters import LayerRunFilterSet
from .spending import BEYOND, Ran, Spending, Use
from .tables import money

# Of the axis, in pixels.
HEIGHT = 96


def bars(spent: Spending, cut: Sequence[Bucket], selection: LayerRunFilterSet, by: str) -> charts.Bars:
    """Return the cost a bucket, stacked by model or by layer, the dearest at the baseline."""

    def name(use: Use) -> str:
        if by == "layer":
            return use.layer or _("(no name)")
        return _("beyond its calls") if use.origin == BEYOND else use.model or _("no model named")

    dearest = sorted(spent.by(name).items(), key=lambda item: (-item[1].cost, item[0]))
    series = charts.named([each for each, sums in dearest if sums.cost], _("others"))
    legend = list({entry.tone: entry for entry in series.values()}.values())
    stacks: list[dict[str, Decimal]] = [{} for _bucket in cut]
    for (place, each), sums in spent.by_bucket_and(name).items():
        if sums.cost:
            tone = series[each].tone
            stacks[place][tone] = stacks[place].get(tone, Decimal(0)) + sums.cost
    ran = spent.by_bucket()
    return charts.bars(
        [
            _column(bucket, label, stacks[place], legend, ran.get(place), selection)
            for place, (bucket, label) in enumerate(zip(cut, round_names(cut), strict=True))
        ],
        legend,
        label=_("Cost by layer") if by == "layer" else _("Cost by model"),
        first=_("Time"),
        unit=charts.USD,
        height=HEIGHT,
    )


def _column(
    bucket: Bucket,
    label: str,
    stack: dict[str, Decimal],
    legend: Sequence[charts.Series],
    ran: Ran | None,
    selection: LayerRunFilterSet,
) -> charts.Column:
    url = selection.link(period=None, **bucket.params)
    if ran is None:
        return charts.Column(bucket.name, label, url=url, total=_("no runs"))
    parts = [
        (entry.tone, stack[entry.tone], f"{entry.name} {money(stack[entry.tone])}")
        for entry in legend
        if entry.tone in stack
    ]
    total = _("%(cost)s, %(runs)s") % {"cost": money(ran.sums.cost), "runs": formatting.plural(ran.runs, "run")}
    if parts:
        return charts.Column(bucket.name, label, parts, url, total)
    # Runs ran and nothing was charged: that is no gap.
    free = formatting.usd(Decimal(0))
    return charts.Column(bucket.name, label, [("rest", Decimal(0), "")], url, total, note=free, note_tone="dry")
