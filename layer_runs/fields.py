"""What the database may hold, enforced for every way of writing."""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from .conf import get_config
from .expressions import ContainsIgnoringAsciiCase
from .redaction import marks, redact_json, usable

NANO = Decimal("1e-9")
MAX_USD = Decimal(1_000_000)
MAX_DEPTH = 20
_BIGGEST = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid() -> str:
    """Return a fresh ULID: 26 characters that sort by the millisecond they were made in (github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def clean_text(text: str, max_length: int | None = None) -> str:
    """Return `text` as both databases can hold it.

    NUL and lone surrogates become U+FFFD; what is longer than `max_length` is cut and ends in `…`.
    """
    if not text.isascii() or "\x00" in text:
        text = _UNSTORABLE.sub("\ufffd", text)
    if max_length is not None and len(text) > max_length:
        text = text[: max_length - 1] + "…"
    return text


def clean_json(value: Any, depth: int = 0) -> Any:
    """Return JSON as both databases can hold it: clean text, no NaN, `MAX_DEPTH` levels, the rest as text."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == MAX_DEPTH:
        return "… (nested too deeply)"
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(item, depth + 1) for key, item in value.items()}
    return [clean_json(item, depth + 1) for item in value]


def without_secrets(value: Any) -> tuple[Any, int]:
    """Return text or JSON without the secrets in it, as the settings want it, and how many were replaced."""
    config = get_config()
    if not config["REDACT"]:
        return value, 0
    also = config["REDACT_ALSO"]
    return redact_json(value, usable(tuple(also)) if isinstance(also, (list, tuple)) else ())


def to_usd(value: Any) -> Decimal:
    """Return an amount of US dollars at nano-dollar precision. Raises ValueError for what is no finite number.

    A float is taken at its shortest spelling, so that 0.1 is ten cents and not 0.1000000000000000055.
    """
    try:
        amount = Decimal(str(value))
        if not amount.is_finite():
            raise ValueError(f"{value} is not an amount of money")
        return amount.quantize(NANO, ROUND_HALF_EVEN)
    except InvalidOperation:
        raise ValueError(f"{value} is not an amount of money") from None


class _NotingField(models.Field):
    """A field that leaves a note on its row when it has to change what it was given."""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        given = getattr(model_instance, self.attname)
        stored = self.get_prep_value(given)
        if hasattr(stored, "resolve_expression"):
            return stored
        if stored != given:
            setattr(model_instance, self.attname, stored)
            note: Callable[[str, str], None] | None = getattr(model_instance, "note_altered", None)
            if note and given is not None:
                cut = isinstance(given, str) and len(given) > len(stored)
                note(self.attname, "cut" if cut else "replaced characters")
        return stored


class CleanTextField(_NotingField, models.CharField):
    """Text without what a database or a browser chokes on, never longer than `max_length`."""

    def get_prep_value(self, value: Any) -> Any:
        if hasattr(value, "resolve_expression"):
            return value
        value = super().get_prep_value(value)
        if isinstance(value, str):
            return clean_text(value, self.max_length)
        return "" if value is None and not self.null else value


class CleanJSONField(_NotingField, models.JSONField):
    """JSON that reads back the same on both databases; an unreadable value comes back as its text."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if value is None and not self.null:
            return self.get_default()
        return value if hasattr(value, "resolve_expression") else clean_json(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if not prepared:
            value = self.get_prep_value(value)
        # Unescaped, so that the generated columns read the text and not its escapes.
        return connection.ops.adapt_json_value(value, _UnescapedEncoder)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        try:
            return clean_json(super().from_db_value(value, expression, connection))
        except (ValueError, RecursionError):
            return clean_text(str(value))


class _RedactedField(models.Field):
    """A field that keeps no secrets. Its row is told how many were replaced in it; `update()` tells nobody."""

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        # To the database it is the same column.
        name, _path, args, kwargs = super().deconstruct()
        base = CleanJSONField if isinstance(self, CleanJSONField) else CleanTextField
        return name, f"{base.__module__}.{base.__name__}", args, kwargs

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        given = getattr(model_instance, self.attname)
        if not hasattr(given, "resolve_expression"):
            kept, number = without_secrets(given)
            if number:
                setattr(model_instance, self.attname, kept)
            note: Callable[[str, int, int], None] | None = getattr(model_instance, "note_redacted", None)
            if note:
                note(self.attname, number, marks(kept) - number)
        return super().pre_save(model_instance, add)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        # Of update(), too; but never of a value that is only looked for.
        if not hasattr(value, "resolve_expression"):
            value, _number = without_secrets(value)
        return super().get_db_prep_save(value, connection)


class RedactedTextField(_RedactedField, CleanTextField):
    """Text without secrets."""


class RedactedJSONField(_RedactedField, CleanJSONField):
    """JSON without secrets in its texts, whatever its shape."""


class _UnescapedEncoder(json.JSONEncoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"ensure_ascii": False}))


class UsdField(models.Field):
    """US dollars: whole nano-dollars in the column, Decimal in Python, so that sums are exact on both databases.

    Accepts Decimal, str and int, and a float by its shortest spelling. Raises ValidationError for anything else.
    """

    description = "US dollars"
    empty_strings_allowed = False

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        try:
            return to_usd(value)
        except ValueError as error:
            raise ValidationError(str(error), code="invalid") from error

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if value is None or hasattr(value, "resolve_expression"):
            return value
        usd = self.to_python(value)
        # No column holds more: such a cost is refused by the bounds, and no run is found beyond it.
        return None if usd is None else max(-_BIGGEST, min(int(usd.scaleb(9)), _BIGGEST))

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        return None if value is None else Decimal(int(value)).scaleb(-9)

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**({"form_class": forms.DecimalField, "decimal_places": 9} | kwargs))


CleanTextField.register_lookup(ContainsIgnoringAsciiCase)
