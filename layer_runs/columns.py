"""What a column of runs says: its text once, for the page, the admin and the ear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import django_tables2 as tables
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from . import formatting
from .conf import get_config
from .keyset import Order
from .models import LayerRun, Status


@dataclass(frozen=True)
class Look:
    """Who looks, and when: what the text of a cell depends on besides its run."""

    now: datetime
    zone: tzinfo
    href: Callable[[LayerRun], str] = lambda run: ""
    sees_errors: bool = True

    @classmethod
    def at_once(cls) -> Look:
        return cls(timezone.now(), timezone.get_default_timezone())


@lru_cache(maxsize=64)
def badge(status: str) -> str:
    """Return a status as an icon and its word; an unknown one keeps its own word."""
    icon = status if status in Status.values else "other"
    return format_html(
        '<span class="lr-badge" data-status="{}" hx-disable>'
        '<svg class="lr-i" aria-hidden="true"><use href="#lr-{}"/></svg>{}</span>',
        status,
        icon,
        status or _("no status"),
    )


def silence(run: LayerRun, now: datetime) -> str:
    """Return how long a running run has been silent, once that is longer than it should be."""
    quiet: timedelta = run.silence(now)
    if run.status != Status.RUNNING or quiet < get_config()["CRASHED_AFTER"]:
        return ""
    return _("no sign of life for %s") % formatting.span(quiet)


class RunColumn(tables.Column):
    """A column of runs. `text` is all it says, for the page, the admin and the ear; `html` may dress it."""

    css = ""

    def __init__(
        self, text: Callable[[LayerRun, Look], str] = lambda run, look: "", *, sort: bool = False, **extra: Any
    ) -> None:
        super().__init__(orderable=sort, **extra)
        self._text = text

    def text(self, run: LayerRun, look: Look) -> str:
        return self._text(run, look)

    def html(self, run: LayerRun, look: Look) -> str:
        return self.text(run, look)

    def order(self, queryset: QuerySet, is_descending: bool) -> tuple[QuerySet, bool]:
        return queryset.order_by(*Order(str(self.accessor), is_descending).terms), True


class StartedColumn(RunColumn):
    css = "lr-c-started"

    def text(self, run: LayerRun, look: Look) -> str:
        ago = formatting.relative(run.started_at, look.now)
        return f"{ago}, {formatting.clock(run.started_at, look.now, look.zone)}"

    def html(self, run: LayerRun, look: Look) -> str:
        return format_html(
            '<time datetime="{}" title="{}"><span class="lr-ago">{}</span> <span class="lr-quiet">{}</span></time>',
            run.started_at.isoformat(),
            formatting.exact(run.started_at, look.zone),
            formatting.relative(run.started_at, look.now),
            formatting.clock(run.started_at, look.now, look.zone),
        )


class LayerColumn(RunColumn):
    css = "lr-c-layer"

    def html(self, run: LayerRun, look: Look) -> str:
        # A plain link first; with htmx it opens the drawer over the list.
        return format_html(
            '<a href="{0}" hx-get="{0}" hx-target="#run-detail" hx-swap="innerHTML" hx-push-url="true"'
            ' hx-sync="#run-detail:replace"><span hx-disable>{1}</span></a>',
            look.href(run),
            run.layer_name or _("(no name)"),
        )


class StatusColumn(RunColumn):
    css = "lr-c-status"

    def html(self, run: LayerRun, look: Look) -> str:
        return badge(run.status)


class TargetsColumn(RunColumn):
    css = "lr-c-targets"

    def processed(self, run: LayerRun) -> str:
        if not run.targets_matched and not run.targets_processed:
            return _("none")
        return _("%(processed)s of %(matched)s") % {
            "processed": formatting.count(run.targets_processed),
            "matched": formatting.count(run.targets_matched),
        }

    def failed(self, run: LayerRun) -> str:
        return _("%s failed") % formatting.count(run.targets_skipped) if run.targets_skipped else ""

    def text(self, run: LayerRun, look: Look) -> str:
        return ", ".join(filter(None, (self.processed(run), self.failed(run))))

    def html(self, run: LayerRun, look: Look) -> str:
        zero = "" if run.targets_matched else " lr-zero"
        some = format_html('<span class="lr-figure{}">{}</span>', zero, self.processed(run))
        failed = self.failed(run)
        return format_html('{} <span class="lr-miss">{}</span>', some, failed) if failed else some


class NumberColumn(RunColumn):
    """A right-aligned figure; nothing is quiet, and never red."""

    css = "lr-n"

    def html(self, run: LayerRun, look: Look) -> str:
        text = self.text(run, look)
        if getattr(run, str(self.accessor)):
            return text
        return format_html('<span class="lr-zero">{}</span>', text)


class CostColumn(NumberColumn):
    """What a run cost; what has no price is called so, and never counted as nothing."""

    css = "lr-n lr-c-cost"

    def priced(self, run: LayerRun) -> str:
        return formatting.usd(run.estimated_cost_usd)

    def unpriced(self, run: LayerRun) -> str:
        if not run.unpriced_tokens:
            return ""
        return _("unpriced") if run.estimated_cost_usd is None else _("+ unpriced")

    def text(self, run: LayerRun, look: Look) -> str:
        if run.estimated_cost_usd is None and run.unpriced_tokens:
            return self.unpriced(run)
        return " ".join(filter(None, (self.priced(run), self.unpriced(run))))

    def html(self, run: LayerRun, look: Look) -> str:
        unpriced = self.unpriced(run)
        if not unpriced:
            return super().html(run, look)
        title = _("%s tokens of calls that have no price") % formatting.count(run.unpriced_tokens)
        priced = "" if run.estimated_cost_usd is None else self.priced(run)
        return format_html('{}<span class="lr-unpriced" title="{}">{}</span>', priced, title, unpriced)


class ErrorColumn(RunColumn):
    """The first error, for those who may read it; for everybody, that a run has gone silent."""

    css = "lr-c-error"

    def text(self, run: LayerRun, look: Look) -> str:
        return "; ".join(filter(None, (silence(run, look.now), self.errors(run, look))))

    def errors(self, run: LayerRun, look: Look) -> str:
        if not run.error_count:
            return ""
        if not look.sees_errors:
            return formatting.plural(run.error_count, "error")
        said = formatting.error_title(run.error_preview) or _("An error without a message")
        parts = [said, *([run.error_node] if run.error_node else [])]
        if run.error_count > 1:
            parts.append(_("and %s more") % formatting.count(run.error_count - 1))
        return ", ".join(parts)

    def html(self, run: LayerRun, look: Look) -> str:
        text = self.text(run, look)
        return format_html('<span title="{0}" hx-disable>{0}</span>', text) if text else ""


class DurationColumn(NumberColumn):
    css = "lr-n lr-c-duration"
