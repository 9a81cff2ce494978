"""What a column of runs says: its text once, for the page, the admin and the ear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from . import formatting
from .conf import get_config
from .models import LayerRun, Status


@dataclass(frozen=True)
class Look:
    """Who looks, and when: what the text of a cell depends on besides its run."""

    now: datetime
    zone: tzinfo
    href: Callable[[LayerRun], str] = lambda run: ""

    @classmethod
    def at_once(cls) -> Look:
        return cls(timezone.now(), timezone.get_default_timezone())


@lru_cache(maxsize=64)
def badge(status: str) -> str:
    """Return a status as an icon and its word; an unknown one keeps its own word."""
    icon = status if status in Status.values else "other"
    return format_html(
        '<span class="lr-badge" data-status="{}">'
        '<svg class="lr-i" aria-hidden="true"><use href="#lr-{}"/></svg>{}</span>',
        status,
        icon,
        status,
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
        self, text: Callable[[LayerRun, Look], str] | None = None, *, sort: bool = False, **extra: Any
    ) -> None:
        super().__init__(orderable=sort, **extra)
        self._text = text

    def text(self, run: LayerRun, look: Look) -> str:
        if self._text is None:
            return str(getattr(run, self.accessor or self._name))
        return self._text(run, look)

    def html(self, run: LayerRun, look: Look) -> str:
        return self.text(run, look)

    def order(self, queryset: QuerySet, is_descending: bool) -> tuple[QuerySet, bool]:
        key = F(str(self.accessor))
        if str(self.accessor) == "started_at":
            return queryset.order_by(*(("-started_at", "-id") if is_descending else ("started_at", "id"))), True
        # NULLs last in both directions on both databases, and every order ends in a unique key.
        by = key.desc(nulls_last=True) if is_descending else key.asc(nulls_last=True)
        return queryset.order_by(by, "-started_at", "-id"), True


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
            ' hx-sync="#run-detail:replace">{1}</a>',
            look.href(run),
            run.layer_name or _("(no name)"),
        )


class StatusColumn(RunColumn):
    css = "lr-c-status"

    def html(self, run: LayerRun, look: Look) -> str:
        return badge(run.status)


class TargetsColumn(RunColumn):
    css = "lr-c-targets"

    def text(self, run: LayerRun, look: Look) -> str:
        if not run.targets_matched and not run.targets_processed:
            return _("none")
        return _("%(processed)s of %(matched)s") % {
            "processed": formatting.count(run.targets_processed),
            "matched": formatting.count(run.targets_matched),
        }

    def html(self, run: LayerRun, look: Look) -> str:
        some = format_html(
            '<span class="lr-figure{}">{}</span>', "" if run.targets_matched else " lr-zero", self.text(run, look)
        )
        if not run.targets_skipped:
            return some
        return format_html(
            '{} <span class="lr-miss">{} {}</span>', some, formatting.count(run.targets_skipped), _("failed")
        )


class NumberColumn(RunColumn):
    """A right-aligned figure; nothing is quiet, and never red."""

    css = "lr-n"

    def html(self, run: LayerRun, look: Look) -> str:
        text = self.text(run, look)
        if getattr(run, str(self.accessor)):
            return text
        return format_html('<span class="lr-zero">{}</span>', text)


class CostColumn(NumberColumn):
    css = "lr-n lr-c-cost"

    def html(self, run: LayerRun, look: Look) -> str:
        if not run.unpriced_tokens:
            return super().html(run, look)
        title = _("%s tokens of calls that have no price") % formatting.count(run.unpriced_tokens)
        if run.estimated_cost_usd is None:
            return format_html('<span class="lr-unpriced" title="{}">{}</span>', title, _("unpriced"))
        return format_html(
            '{}<span class="lr-unpriced" title="{}">{}</span>', super().html(run, look), title, _("+ unpriced")
        )


class ErrorColumn(RunColumn):
    css = "lr-c-error"

    def text(self, run: LayerRun, look: Look) -> str:
        if not run.error_count:
            return silence(run, look.now)
        said = formatting.error_title(run.error_preview) or _("An error without a message")
        parts = [said, *([run.error_node] if run.error_node else [])]
        if run.error_count > 1:
            parts.append(_("and %s more") % formatting.count(run.error_count - 1))
        return ", ".join(str(part) for part in parts)

    def html(self, run: LayerRun, look: Look) -> str:
        text = self.text(run, look)
        return format_html('<span title="{0}">{0}</span>', text) if text else ""


class DurationColumn(NumberColumn):
    css = "lr-n lr-c-duration"
