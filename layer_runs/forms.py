"""The parameters of a selection, read from a query string with a message for what makes no sense."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import MAX_USD
from .models import LayerRun, Status

# In characters; the built-in admin searches no more either.
LONGEST_SEARCH = 200


class ValuesField(forms.MultipleChoiceField):
    """Any of the values in the data. A value that is not there is a question too: its answer is no runs."""

    # Every link of a page repeats them all: what one address asks for must stay a page.
    MAX_VALUES = 50
    MAX_LENGTH = 200
    default_error_messages = {
        "too_many": _("No more than %(number)s values at once."),
        "too_long": _("A value has no more than %(number)s characters."),
    }

    def valid_value(self, value: str) -> bool:
        return True

    def to_python(self, value: Any) -> list[str]:
        values = [item for item in dict.fromkeys(super().to_python(value)) if item]
        if len(values) > self.MAX_VALUES:
            raise self._refusal("too_many", self.MAX_VALUES)
        if any(len(item) > self.MAX_LENGTH for item in values):
            raise self._refusal("too_long", self.MAX_LENGTH)
        return values

    def _refusal(self, code: str, number: int) -> forms.ValidationError:
        return forms.ValidationError(self.error_messages[code], code=code, params={"number": number})


class StatusField(ValuesField):
    """A status is one of a short list, so another word is a mistake and is said to be one."""

    default_error_messages = {"invalid_choice": _("“%(value).40s” is not a status.")}

    def valid_value(self, value: str) -> bool:
        return value in Status.values or value in LayerRun.objects.values_of("status")


class PeriodField(forms.ChoiceField):
    default_error_messages = {"invalid_choice": _("“%(value).40s” is not a period: 24h, 7d, 30d, 90d or all.")}


class InstantField(forms.CharField):
    """An ISO date or time, in the site's zone unless it says another."""

    def __init__(self, *, parse: Callable[..., datetime], **kwargs: Any) -> None:
        self.parse = parse
        super().__init__(**kwargs)

    def clean(self, value: Any) -> datetime | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            return self.parse(text, timezone.get_default_timezone())
        except ValueError:
            message = _("“%(value).40s” is not a date or time: write 2026-11-01 or 2026-11-01T03:30.")
            raise forms.ValidationError(message, params={"value": text}) from None


class FlagField(forms.CharField):
    """Yes or no, in any of the words people write."""

    YES, NO = "yes", "no"
    _WORDS = {**dict.fromkeys(("1", "true", "yes", "on"), YES), **dict.fromkeys(("0", "false", "no", "off"), NO)}
    default_error_messages = {"invalid": _("“%(value).40s” is neither yes (1) nor no (0).")}

    def clean(self, value: Any) -> str:
        text = super().clean(value)
        if not text:
            return ""
        try:
            return self._WORDS[text.lower()]
        except KeyError:
            raise forms.ValidationError(self.error_messages["invalid"], params={"value": text}) from None


class AmountField(forms.CharField):
    """An amount of US dollars that a run can cost."""

    _PATTERN = re.compile(r"\$?((?:\d[\d,]{0,9})?(?:\.\d{0,12})?)", re.A)
    default_error_messages = {"invalid": _("“%(value).40s” is not an amount: write 0.50.")}

    def clean(self, value: Any) -> Decimal | None:
        text = super().clean(value)
        if not text:
            return None
        found = self._PATTERN.fullmatch(text)
        try:
            amount = Decimal(found[1].replace(",", "") if found else "")
            # A comparison with what has more digits than a cost is a mistake of its own.
            if amount >= MAX_USD:
                raise InvalidOperation
        except InvalidOperation:
            raise forms.ValidationError(self.error_messages["invalid"], params={"value": text}) from None
        return amount.quantize(Decimal("1e-9"), ROUND_CEILING)


class DurationField(forms.CharField):
    """A length of time: seconds, or a number with its unit. Its value is in milliseconds."""

    _UNITS = {"ms": 1, "": 1_000, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
    _PATTERN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?([a-z]*)", re.I | re.A)
    default_error_messages = {"invalid": _("“%(value).40s” is not a length of time: write 90s, 2m or 1h.")}

    def clean(self, value: Any) -> int | None:
        text = super().clean(value)
        if not text:
            return None
        found = self._PATTERN.fullmatch(text)
        unit = self._UNITS.get(found[2].lower()) if found else None
        if unit is None:
            raise forms.ValidationError(self.error_messages["invalid"], params={"value": text})
        return int((Decimal(found[1]) * unit).to_integral_value(ROUND_CEILING))


class SelectionForm(forms.Form):
    """All parameters. Together they are no longer than what a browser, a proxy and a server take for an address."""

    MAX_LENGTH = 2_000

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        # Every link of a page repeats them: what is too much is the longest of them.
        texts = {name: value for name, value in values.items() if isinstance(value, list | str)}
        lengths = {name: len(urlencode({name: value}, doseq=True)) for name, value in texts.items() if value}
        while sum(lengths.values()) > self.MAX_LENGTH:
            longest = max(lengths, key=lengths.__getitem__)
            del lengths[longest]
            self.add_error(longest, _("With this the address is too long: choose less at once."))
        if values.get("since") and values.get("until") and values["until"] <= values["since"]:
            self.add_error("until", _("The end is not after the beginning."))
        return self.cleaned_data
