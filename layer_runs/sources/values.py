"""Reading the values of a foreign row: what fits is taken, what does not is noted, nothing raises."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ..fields import MAX_USD, clean_json, clean_text, to_usd, without_secrets
from ..notes import redacted_in, with_note
from ..redaction import marks
from ..windows import EARLIEST, LATEST

MAX_NOTES = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_CROCKFORD_TO_BASE32 = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "0123456789abcdefghijklmnopqrstuv")


class ValueReader:
    """Reads the values of one run and of its calls, and remembers what could not be kept as it came.

    `subject` goes before the field's name in a note; it tells the values of a call from the run's own.
    """

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self.subject = ""
        self._noted = 0

    def altered(self, field: str, how: str) -> None:
        self._note("altered", field, how)

    def nulled(self, field: str, value: Any) -> None:
        self._note("nulled", field, self.excerpt(value))

    def excerpt(self, value: Any) -> str:
        """Return the first characters of a value that could not be kept, for a note."""
        text, number = _excerpt(value)
        if self._noted < MAX_NOTES:
            self._redacted("notes", min(number, marks(text)))
        return text

    def _redacted(self, what: str, number: int) -> None:
        if number:
            self.notes = with_note(self.notes, "redacted", what, redacted_in(self.notes, what) + number)

    def _note(self, kind: str, field: str, text: str) -> None:
        self._noted += 1
        if self._noted <= MAX_NOTES:
            self.notes.setdefault(kind, {})[f"{self.subject}{field}"] = text
        else:
            self.notes["more"] = self._noted - MAX_NOTES

    def text(self, field: str, value: Any, max_length: int) -> str:
        if value is None:
            return ""
        if isinstance(value, bytes):
            self.nulled(field, value)
            return ""
        given = str(value)
        text = clean_text(given, max_length)
        if text != given:
            self.altered(field, "cut" if len(given) > max_length else "replaced characters")
        return text

    def error_text(self, field: str, value: Any, max_length: int) -> str:
        """Read what a call failed with, without the secrets in it."""
        if isinstance(value, str):
            value, number = without_secrets(value)  # Before it is cut, perhaps in the middle of one.
            self._redacted("calls", number)
        return self.text(field, value, max_length)

    def whole(self, field: str, value: Any, most: int) -> int | None:
        if value is None:
            return None
        if isinstance(value, int) and 0 <= value <= most:
            return value
        self.nulled(field, value)
        return None

    def usd(self, field: str, value: Any) -> Decimal | None:
        if value is None:
            return None
        try:
            usd = to_usd(value)
        except ValueError:
            usd = MAX_USD
        if 0 <= usd < MAX_USD and not isinstance(value, (str, bytes)):
            return usd
        self.nulled(field, value)
        return None

    def moment(self, field: str, value: Any) -> datetime | None:
        """Read a time; one without a zone is UTC."""
        if value is None:
            return None
        try:
            return _utc(value)
        except (TypeError, ValueError, OverflowError):
            self.nulled(field, value)
            return None

    def errors(self, field: str, value: Any) -> Any:
        """Read JSON of any shape; `null` is no errors, and what is no JSON is none with a note."""
        if value is None or value == "null":
            return []
        try:
            # SQLite turns the JSON text of a number into a number.
            given = value if isinstance(value, (int, float)) else json.loads(value)
        except (TypeError, ValueError, RecursionError):
            self.nulled(field, value)
            return []
        given, number = without_secrets(given)
        self._redacted("errors", number)
        cleaned = clean_json(given)
        if cleaned != given:
            self.altered(field, "replaced what JSON cannot hold")
        return [] if cleaned is None else cleaned


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if EARLIEST <= moment < LATEST:
        return moment
    raise ValueError(f"{text} is out of bounds")


def excerpt(value: Any) -> str:
    """Return the first 100 characters of a value that could not be kept."""
    return _excerpt(value)[0]


def _excerpt(value: Any) -> tuple[str, int]:
    is_binary = isinstance(value, bytes)
    # More than is shown, so that a secret is known for one where the rest of it would be cut.
    text, number = without_secrets(repr(value[:1_000]) if is_binary else str(value)[:1_000])
    return clean_text(f"{len(value)} bytes: {text}" if is_binary else text, 100), number


def time_of_ulid(text: str) -> datetime | None:
    """Return the moment a ULID was made in, or None for what is no ULID of our times."""
    if not _ULID.fullmatch(text):
        return None
    milliseconds = int(text[:10].translate(_CROCKFORD_TO_BASE32), 32)
    if milliseconds >= (LATEST - _EPOCH) // timedelta(milliseconds=1):
        return None
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment if moment >= EARLIEST else None
