"""The app's formats, for its templates: one-line shims over `formatting`."""

from __future__ import annotations

from django import template
from django.utils import timezone

from .. import formatting
from ..columns import badge

register = template.Library()

register.filter("count", formatting.count)
register.filter("usd", formatting.usd)
register.filter("usd_exact", formatting.usd_exact)
register.filter("duration", formatting.duration)
register.filter("relative", formatting.relative)
register.filter("per_100", formatting.per_100)
register.simple_tag(badge)


@register.filter
def exact(moment):
    """The moment to the second, with the site's zone."""
    return formatting.exact(moment, timezone.get_default_timezone())


@register.filter
def clock(moment, now):
    """The time of day, with as much of the date as it needs."""
    return formatting.clock(moment, now, timezone.get_default_timezone())


@register.filter
def short_day(moment, now):
    """The calendar day, with its year where that is not this one."""
    return formatting.short_day(moment, now, timezone.get_default_timezone())
