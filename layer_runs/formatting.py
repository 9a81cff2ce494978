"""Value to text. Pure Python: every page, column, export and admin cell says a thing the same way."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, time, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from numbers import Rational
from typing import Any

NOTHING = "–"
MINUS = "−"


def count(value: int | None) -> str:
    """Return a whole number with separators: `24,214,728`."""
    return NOTHING if value is None else f"{value:,}".replace("-", MINUS)


def compact(value: int) -> str:
    """Return a number short enough for a card: `9,999`, `24.2M`. The exact figure goes in its title."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        # From where it rounds up: 999,950 is 1M and not 1000K.
        if abs(value) >= max(size - size // 20_000, 10_000):
            short = (Decimal(value) / size).quantize(Decimal("0.1"), ROUND_HALF_UP)
            return f"{short.normalize():f}{unit}".replace("-", MINUS)
    return count(value)


def usd(value: Decimal | None, places: int = 3) -> str:
    """Return US dollars: `$0.105`, `$0` for exactly none, `<$0.001` rather than a rounded-away cost."""
    if value is None:
        return NOTHING
    if value == 0:
        return "$0"
    unit = Decimal(1).scaleb(-places)
    rounded = value.quantize(unit, ROUND_HALF_UP)
    return f"<${unit}" if rounded == 0 else f"${rounded:,}"


def usd_exact(value: Decimal | None) -> str:
    """Return every stored digit of a cost, without trailing zeros beyond the cent; `$0` for exactly none."""
    if value is None:
        return NOTHING
    if value == 0:
        return "$0"
    digits = f"{value:,.9f}".rstrip("0")
    whole, _, cents = digits.partition(".")
    return f"${whole}.{cents:0<2}"


def usd_change(value: Decimal, places: int = 2) -> str:
    """Return a difference in US dollars with its sign: `+$4.23`, `−$0.59`, `$0` for exactly none."""
    return signed(value, lambda size: usd(size, places))


def duration(milliseconds: int | None) -> str:
    """Return `47 ms`, `41.4 s`, `1m 45s` or `2h 05m`; a negative one is named for what it is."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 0:
        return f"clock skew ({MINUS}{duration(-milliseconds)})"
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 59_950:
        return f"{Decimal(milliseconds).scaleb(-3).quantize(Decimal('0.1'), ROUND_HALF_UP)} s"
    seconds = (milliseconds + 500) // 1_000
    if seconds < 3_600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    minutes = (seconds + 30) // 60
    return f"{minutes // 60}h {minutes % 60:02}m"


def span(delta: timedelta) -> str:
    """Return a rough length of time in its largest fitting unit: `28 hours`, `2 days`."""
    seconds = int(delta.total_seconds())
    days = seconds // 86_400
    for number, unit in (
        (days // 730 and days // 365, "year"),
        (days // 61 and days * 10 // 304, "month"),
        (days // 2 and days, "day"),
        (seconds // 3_600, "hour"),
        (seconds // 60, "minute"),
    ):
        if number:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "under a minute"


def relative(moment: datetime, now: datetime) -> str:
    """Return how far away a moment is: `28 hours ago`, `in 10 minutes`."""
    return f"in {span(moment - now)}" if moment > now else f"{span(now - moment)} ago"


def clock(moment: datetime, now: datetime, zone: tzinfo) -> str:
    """Return the time of day that tells two rows of one night apart: `Sat 04:06`, `7 Nov 03:56`."""
    local = moment.astimezone(zone)
    if abs(now - moment) < timedelta(days=7):
        return f"{local:%a %H:%M}"
    return f"{short_day(moment, now, zone)} {local:%H:%M}"


def exact(moment: datetime | None, zone: tzinfo) -> str:
    """Return a moment to the second with its zone: `Sat 21 November 2026, 04:06:00 UTC`."""
    if moment is None:
        return NOTHING
    local = moment.astimezone(zone)
    return f"{local:%a} {local.day} {local:%B} {local.year}, {local:%H:%M:%S} {local.tzname()}"


def day(moment: datetime, zone: tzinfo) -> str:
    """Return a calendar day: `16 Nov 2026`."""
    local = moment.astimezone(zone)
    return f"{local.day} {local:%b %Y}"


def days(start: datetime, end: datetime) -> str:
    """Return the days between two moments in their zone: `24 Oct – 22 Nov 2026`; parts of a day with their hours."""
    last = end - timedelta(microseconds=1)
    whole = start.time() == end.time() == time.min
    if start.date() == last.date():
        name = f"{start:%a} {start.day} {start:%b %Y}"
        return name if whole else f"{name} {start:%H:%M} – {end:%H:%M}"
    year = "" if start.year == last.year else f" {start.year}"
    if not whole:
        return f"{start.day} {start:%b}{year} {start:%H:%M} – {end.day} {end:%b %Y} {end:%H:%M}"
    month = "" if start.month == last.month and not year else f" {start:%b}"
    return f"{start.day}{month}{year} – {last.day} {last:%b %Y}"


def short_day(moment: datetime, now: datetime, zone: tzinfo) -> str:
    """Return a calendar day as a table says it: `16 Nov`, with its year only where that is not this one."""
    local = moment.astimezone(zone)
    year = "" if local.year == now.astimezone(zone).year else f" {local.year}"
    return f"{local.day} {local:%b}{year}"


def stretch(since: datetime | None, until: datetime | None, now: datetime, zone: tzinfo) -> str:
    """Return a window of time with its zone: `16 – 22 Nov 2026, UTC`; whole days are named as days."""
    if since is None and until is None:
        return f"All time, {zone}"
    edges = [moment.astimezone(zone) for moment in (since, until) if moment is not None]
    if all(edge.time() == time.min for edge in edges):
        if since is None:
            return f"Until {day(until - timedelta(microseconds=1), zone)}, {zone}"
        tomorrow = max(now, since).astimezone(zone).date() + timedelta(days=1)
        return f"{days(edges[0], edges[1] if until else datetime.combine(tomorrow, time.min, zone))}, {zone}"
    text = " ".join(f"{word} {exact(edge, zone)}" for word, edge in (("from", since), ("until", until)) if edge)
    return text[0].upper() + text[1:]


def share(part: int, whole: int) -> str:
    """Return a percentage without decimals, except close to 0 and 100 where it would lie."""
    if not whole:
        return ""
    percent = Decimal(part * 100) / whole
    near_an_end = 0 < percent < 1 or 99 < percent < 100
    if not near_an_end:
        return f"{percent.quantize(Decimal(1), ROUND_HALF_UP)}%"
    tenth = percent.quantize(Decimal("0.1"), ROUND_HALF_UP)
    if tenth == 0:
        return "<0.1%"
    return ">99.9%" if tenth == 100 else f"{tenth}%"


def percent(part: Rational | Decimal) -> str:
    """Return a part of one in percent, to be set beside another: `1.8%`."""
    return f"{Decimal(round(part * 1_000)).scaleb(-1)}%".replace("-", MINUS)


def change(part: Decimal | None) -> str:
    """Return a relative difference in percent with its sign: `+17%`, `−99.8%`, `±0%`; of nothing there is none."""
    if part is None:
        return NOTHING
    size, sign = abs(part) * 100, "+" if part > 0 else MINUS
    near = size < 1 or 0 < abs(size - 100) < 1
    rounded = size.quantize(Decimal("0.1") if near else Decimal(1), ROUND_HALF_UP)
    if near and rounded == 100:
        return f"{sign}>{'99.9' if size < 100 else '100'}%"
    return f"{sign}{rounded:,}%" if rounded else "±0%"


def ratio(value: Decimal | None, places: int = 2) -> str:
    """Return how many of one thing come to one of another: `0.90`, `28.6`, `<0.01` rather than a rounded-away one."""
    if value is None:
        return NOTHING
    unit = Decimal(1).scaleb(-places)
    rounded = value.quantize(unit, ROUND_HALF_UP)
    return f"<{unit}" if value and not rounded else f"{rounded:,}"


def signed(difference: Any, show: Callable[[Any], str]) -> str:
    """Return a difference with its sign, its size as `show` says it: `+4`, `−1m 03s`."""
    sign = "+" if difference > 0 else MINUS if difference < 0 else ""
    return f"{sign}{show(abs(difference))}"


def p_value(p: float) -> str:
    """Return how often chance alone does it: `p = 0.37`, `p = 0.048`, `p < 0.001`; none is rounded to 1 in 20."""
    if p < 0.001:
        return "p < 0.001"
    places = 2 if p >= 0.095 else 3 if f"{p:.3f}" != "0.050" else 4
    return f"p = {p:.{places}f}"


def per_100(part: int, whole: int) -> str:
    """Return how many there are for every hundred: `17.8`, `0`, `<0.1`; of nothing there is no rate."""
    if not whole:
        return NOTHING
    if not part:
        return "0"
    tenths = (Decimal(part * 100) / whole).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{tenths:,}" if tenths else "<0.1"


def plural(number: int, noun: str) -> str:
    """Return a count and its noun: `1 run`, `2 runs`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


# A quote ends the message where the object goes on or ends; a source may have cut it anywhere.
_MESSAGE = re.compile(
    r"""['"]message['"]:\s*(?:'(?P<single>(?:\\.|[^\\])*?)(?:'\s*[,}]|\\?$)"""
    r"""|"(?P<double>(?:\\.|[^\\])*?)(?:"\s*[,}]|\\?$))""",
    re.S,
)
_CODE = re.compile(r"^(?:Error code|HTTP|status)[: ]+(?P<code>\d{3})\b", re.I)
_UNICODE_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_ESCAPED = re.compile(r"""\\(["'\\/n])""")


def _unescape(match: re.Match[str]) -> str:
    """Return what the escapes stand for, but for controls, bidi marks and lone surrogates: those stay escaped."""
    text = bytes.fromhex(match[0].replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    return "".join(char if char.isprintable() or char.isspace() else f"\\u{ord(char):04x}" for char in text)


def error_title(message: str) -> str:
    """Return the sentence a person would quote from an error text.

    SDKs wrap an API's answer as `Error code: 529 - {'error': {'message': 'Overloaded'}}`: the inner
    message is the sentence. Anything else is its own first line.
    """
    inner = _MESSAGE.search(message)
    text = (inner["single"] or inner["double"] or "").strip() if inner else ""
    text = _ESCAPED.sub(lambda escaped: "\n" if escaped[1] == "n" else escaped[1], text) or message
    lines = _UNICODE_ESCAPES.sub(_unescape, text).strip().splitlines()
    line = " ".join(lines[0].split()) if lines else ""
    line = re.sub(r"(?<=[^.])\.$", "", line)
    return line[:1].upper() + line[1:]


def error_code(message: str) -> str:
    """Return the three-digit code an error text begins with, or an empty string."""
    found = _CODE.match(message)
    return found["code"] if found else ""
