"""One run: what happened to it, why it cost what it cost, and the runs around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from ..errors import RunError
from ..expressions import SumOfUsd
from ..fields import clean_text
from ..lines import visible
from ..models import ErrorLine, LayerRun
from ..notes import note_lines
from .headline import headline

ERRORS_PER_PAGE = 50
CALLS_SHOWN = 100
MODELS_NAMED = 3
# Of one error, in characters; of all on a page together, in bytes.
ERROR_TEXT_SHOWN = 2_000
TEXT_OF_A_PAGE = 100_000
TITLE_SHOWN = 200
LINE_LENGTH = ErrorLine._meta.get_field("message").max_length
NEIGHBOURS = 2


@dataclass
class ErrorGroup:
    """Errors of one run that say the same at the same node, with the topics they hit."""

    error: RunError
    topics: list[RunError] = field(default_factory=list)
    room: int = TEXT_OF_A_PAGE

    @cached_property
    def text(self) -> str:
        text = self.error.message[:ERROR_TEXT_SHOWN]
        # As it is sent: a quote is six bytes, and what could not be seen is spelled out.
        while (size := len(escape(visible(text)).encode())) > self.room:
            text = text[: len(text) * self.room // size]
        return text

    @property
    def is_cut(self) -> bool:
        return self.error.cut or len(self.error.message) > len(self.text)

    @property
    def node(self) -> str:
        return clean_text(self.error.node, TITLE_SHOWN)

    @property
    def title(self) -> str:
        if self.error.odd:
            return _("In an unexpected shape, shown as it is")
        return clean_text(self.error.title, TITLE_SHOWN)

    @property
    def says_more(self) -> bool:
        """Whether the whole text holds more than its title does."""
        # What is longer than a title can be says more, however long it is.
        said = self.error.message[: TITLE_SHOWN * 2].strip().removesuffix(".")
        return self.error.odd or said.casefold() != self.title.casefold()


def error_groups(errors: Iterable[RunError]) -> list[ErrorGroup]:
    """Fold errors with the same node and text together, in the order they first happened."""
    groups: dict[tuple[str, str], ErrorGroup] = {}
    for error in errors:
        groups.setdefault((error.node, error.message), ErrorGroup(error)).topics.append(error)
    for group in groups.values():
        group.room = max(TITLE_SHOWN, TEXT_OF_A_PAGE // len(groups))
    return list(groups.values())


def errors_of(run: LayerRun, start: int, stop: int) -> list[RunError]:
    """Return some of a run's errors, from the lines that follow from them: the whole of them can be 30 MB.

    Read from the errors themselves where lines are missing, and where one may have been of another shape.
    """
    lines = list(run.error_lines.filter(position__gte=start, position__lt=stop).order_by("position"))
    errors = [
        RunError(line.position, line.message.removesuffix("…") if cut else line.message, line.topic, line.node, cut=cut)
        for line, cut in ((line, len(line.message) == LINE_LENGTH and line.message.endswith("…")) for line in lines)
    ]
    is_whole = [error.position for error in errors] == list(range(start, min(stop, run.error_count)))
    if is_whole and all(error.topic or error.node for error in errors):
        return errors
    return list(run.read_errors(start, stop))


def error_page(run: LayerRun, page: int = 1) -> dict[str, Any]:
    """Return one page of a run's errors, grouped, with where it lies among them all."""
    start = (page - 1) * ERRORS_PER_PAGE
    errors = errors_of(run, start, start + ERRORS_PER_PAGE)
    return {
        "groups": error_groups(errors),
        "count": run.error_count,
        "first": start + 1 if errors else 0,
        "last": start + len(errors),
        "page": page,
        "pages": max(1, -(-run.error_count // ERRORS_PER_PAGE)),
    }


def calls_of(run: LayerRun) -> dict[str, Any]:
    """Return a run's calls, the first `CALLS_SHOWN` of them, and their sums over all."""
    sums = run.calls.aggregate(
        count=Count("pk"),
        failed=Count("pk", filter=Q(success=False)),
        tokens_input=Sum("tokens_input"),
        tokens_output=Sum("tokens_output"),
        tokens=Sum("tokens_total"),
        cost=SumOfUsd("estimated_cost_usd"),
    )
    shown = list(run.calls.order_by("created_at", "id")[:CALLS_SHOWN]) if sums["count"] else []
    models = list(run.calls.order_by().values_list("model_name", flat=True).distinct()) if shown else []
    others = sorted({model for model in models if model} - {run.model_name})
    named = ", ".join(others[:MODELS_NAMED])
    if len(others) > MODELS_NAMED:
        named = _("%(named)s and %(more)s more") % {"named": named, "more": len(others) - MODELS_NAMED}
    return sums | {"shown": shown, "other_models": named, "answered": sums["count"] - sums["failed"]}


def neighbours(run: LayerRun) -> dict[str, Any]:
    """Return the runs of the same layer and source around this one, newest first."""
    after = list(LayerRun.objects.for_list().after(run)[:NEIGHBOURS])
    before = list(LayerRun.objects.for_list().before(run)[:NEIGHBOURS])
    return {
        "after": after[0] if after else None,
        "before": before[0] if before else None,
        "around": [*reversed(after), run, *before] if after or before else [],
    }


def funnel(run: LayerRun) -> list[dict[str, Any]]:
    """Return the targets of a run by what became of them, with their share of the matched as a width in percent."""
    whole = max(run.targets_matched, run.targets_processed, run.targets_skipped)
    parts = [
        ("matched", _("Matched"), run.targets_matched),
        ("processed", _("Processed"), run.targets_processed),
        ("failed", _("Failed"), run.targets_skipped),
    ]
    return [
        {"name": name, "label": label, "count": count, "width": f"{100 * count / whole:.2f}%"}
        for name, label, count in parts
        if whole
    ]


def report(run: LayerRun, now: datetime, *, with_details: bool) -> dict[str, Any]:
    """Return what the page of a run shows. Without `with_details` no error text, topic or call is read."""
    return {
        "headline": headline(run, now),
        "note_lines": list(note_lines(run.notes)) if with_details else [],
        "funnel": funnel(run),
        "errors": error_page(run) if with_details else None,
        "calls": calls_of(run) if with_details else None,
    } | neighbours(run)
