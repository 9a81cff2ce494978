"""The fields of two runs side by side, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from typing import Any

from django.utils.translation import gettext as _

from ... import formatting, statistics
from ...models import LayerRun, Status

# How bad a status is: a run that went worse than the other is marked for it.
BADNESS = {Status.PARTIAL.value: 1, Status.FAILED.value: 2, Status.CRASHED.value: 2}
USD_PLACES = 4


@dataclass(frozen=True)
class Words:
    """What a difference is called: one way, and the other."""

    up: str
    down: str


@dataclass
class Row:
    """One field of both runs. `change` is the signed difference, `percent` that of the run before, `word` its name.

    `only` is the side that alone has the field: before or after.
    """

    name: str
    label: str
    before: str
    after: str
    differs: bool = False
    change: str = ""
    percent: str = ""
    word: str = ""
    only: str = ""
    # The status whose colours a change for the worse takes.
    tone: str = ""
    kind: str = "figure"
    note: str = ""
    # All that is stored, where the text is shorter.
    exact_before: str = ""
    exact_after: str = ""


@dataclass
class Section:
    label: str
    rows: list[Row]

    @property
    def differs(self) -> bool:
        return any(row.differs for row in self.rows)


def text_row(name: str, label: str, before: str, after: str, kind: str = "text") -> Row:
    differs = before != after
    row = Row(name, label, before or formatting.NOTHING, after or formatting.NOTHING, differs, kind=kind)
    if differs:
        row.only = "before" if not after else "after" if not before else ""
        row.word = "" if row.only else _("changed")
    return row


def figure_row(
    name: str,
    label: str,
    before: Any,
    after: Any,
    words: Words,
    show: Callable[[Any], str] = formatting.count,
    places: int | None = None,
) -> Row:
    """Compare two figures; None is one that is not known. `places` are the decimals that `show` rounds to."""
    row = Row(name, label, show(before), show(after), before != after)
    if not row.differs:
        return row
    if before is None or after is None:
        row.only = "before" if after is None else "after"
        return row
    difference = after - before
    row.word = words.up if difference > 0 else words.down
    if places is not None:
        # The difference of what is shown, so that a reader who subtracts finds the same.
        difference = _rounded(after, places) - _rounded(before, places) or difference
    row.change = formatting.signed(difference, show)
    if before > 0:
        row.percent = formatting.change(part_of(before, after))
    return row


def part_of(before: Any, after: Any) -> Decimal:
    """Return how much more `after` is, as a part of `before`."""
    return Decimal(after - before) / Decimal(before)


def per_target(run: LayerRun, figure: Any) -> Decimal | None:
    """Return a figure of a run for each target it processed; of no target, or of no figure, there is none."""
    return statistics.per_target(figure, run.targets_processed)


def cost_per_target(run: LayerRun) -> Decimal | None:
    return per_target(run, run.estimated_cost_usd)


def sections(before: LayerRun, after: LayerRun, zone: tzinfo) -> list[Section]:
    """Return what both runs say, field by field. Fields that neither of them has are left out where few runs do."""
    both = before, after
    return [
        Section(_("Run"), list(_run(*both, zone))),
        Section(_("Targets"), list(_targets(*both))),
        Section(_("Model"), list(_model(*both))),
        Section(_("Tokens and cost"), list(_tokens(*both))),
        Section(_("Per processed target"), list(_per_target(*both))),
    ]


def _run(before: LayerRun, after: LayerRun, zone: tzinfo) -> Iterator[Row]:
    yield text_row("layer_name", _("Layer"), before.layer_name, after.layer_name)
    if before.source or after.source:
        yield text_row("source", _("Source"), before.source, after.source)
    yield text_row("layer_hash", _("Version"), before.layer_hash, after.layer_hash, "code")
    status = text_row("status", _("Status"), before.status, after.status, "status")
    if BADNESS.get(after.status, 0) > BADNESS.get(before.status, 0):
        status.tone = after.status
    yield status
    # Two runs start at two times: that is no difference to look into.
    yield Row(
        *("started_at", _("Started")),
        *(formatting.exact(run.started_at, zone) for run in (before, after)),
        word=_later(before.started_at, after.started_at),
        kind="time",
    )
    yield Row(
        *("completed_at", _("Finished")),
        *(formatting.exact(run.completed_at, zone) for run in (before, after)),
        kind="time",
    )
    yield _duration(before, after)


def _duration(before: LayerRun, after: LayerRun) -> Row:
    lengths = before.duration_ms, after.duration_ms
    words = Words(_("longer"), _("shorter"))
    row = figure_row("duration_ms", _("Duration"), *lengths, words, formatting.duration)
    if any(length is not None and length < 0 for length in lengths):
        # A clock that went backwards measured nothing: there is no difference to speak of.
        row.change, row.percent, row.word = "", "", _("changed") if row.differs else ""
    return row


def _later(before: datetime, after: datetime) -> str:
    if before == after:
        return _("at the same time")
    later = _("%s later") if after > before else _("%s earlier")
    return later % apart(before, after)


def apart(one: datetime, other: datetime) -> str:
    """Return how far apart two moments are, to the minute: a nightly run rarely starts at the same microsecond."""
    minutes = round(abs(other - one) / timedelta(minutes=1))
    return formatting.span(timedelta(minutes=minutes))


def _targets(before: LayerRun, after: LayerRun) -> Iterator[Row]:
    number = partial(_both, before, after, words=Words(_("more"), _("fewer")))
    yield number("targets_matched", _("Matched"))
    yield number("targets_processed", _("Processed"))
    for row in (number("targets_skipped", _("Failed")), number("error_count", _("Errors"))):
        if row.differs and row.word == _("more"):
            row.tone = Status.FAILED.value
        yield row
    yield number("insights_created", _("Insights"))


def _model(before: LayerRun, after: LayerRun) -> Iterator[Row]:
    labels = {"model_name": _("Model"), "model_profile": _("Profile"), "model_provider": _("Provider")}
    for name, label in labels.items():
        yield text_row(name, label, getattr(before, name), getattr(after, name))


def _tokens(before: LayerRun, after: LayerRun) -> Iterator[Row]:
    number = partial(_both, before, after, words=Words(_("more"), _("fewer")))
    money = partial(_both, before, after, words=Words(_("more"), _("less")), show=usd, places=USD_PLACES)
    yield number("tokens_input", _("Tokens in"))
    yield number("tokens_output", _("Tokens out"))
    yield number("tokens_total", _("Tokens"))
    if before.reported_tokens_total is not None or after.reported_tokens_total is not None:
        yield number("reported_tokens_total", _("Tokens, source said"))
    cost = money("estimated_cost_usd", _("Cost, estimate"))
    for side, run in (("before", before), ("after", after)):
        if run.estimated_cost_usd is None and run.unpriced_tokens:
            setattr(cost, side, _("unpriced"))
    cost.note = _priced_only(before, after)
    yield cost
    if before.unpriced_tokens or after.unpriced_tokens:
        yield number("unpriced_tokens", _("Unpriced tokens"))
    if before.reported_cost_usd is not None or after.reported_cost_usd is not None:
        yield money("reported_cost_usd", _("Cost, source said"))


def _both(before: LayerRun, after: LayerRun, name: str, label: str, words: Words, **how: Any) -> Row:
    row = figure_row(name, label, getattr(before, name), getattr(after, name), words, **how)
    if how.get("show") is usd:
        row.exact_before, row.exact_after = (formatting.usd_exact(getattr(run, name)) for run in (before, after))
    return row


def _per_target(before: LayerRun, after: LayerRun) -> Iterator[Row]:
    more = Words(_("more"), _("fewer"))

    def figures(name: str) -> list[Decimal | None]:
        return [per_target(run, getattr(run, name)) for run in (before, after)]

    whole = partial(formatting.ratio, places=0)
    yield figure_row("tokens_per_target", _("Tokens"), *figures("tokens_total"), more, whole, 0)
    money = Words(_("dearer"), _("cheaper"))
    cost = figure_row("cost_per_target", _("Cost"), *figures("estimated_cost_usd"), money, usd, USD_PLACES)
    cost.note = _priced_only(before, after)
    yield cost
    yield figure_row("insights_per_target", _("Insights"), *figures("insights_created"), more, formatting.ratio, 2)


def usd(value: Decimal | None) -> str:
    return formatting.usd(value, USD_PLACES)


def _priced_only(before: LayerRun, after: LayerRun) -> str:
    return _("priced calls only") if before.unpriced_tokens or after.unpriced_tokens else ""


def _rounded(value: Any, places: int) -> Decimal:
    return Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
