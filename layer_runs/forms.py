"""The parameters of a selection, read from a query string with a message for what makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .models import LayerRun, Status


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


class SelectionForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if values.get("since") and values.get("until") and values["until"] <= values["since"]:
            self.add_error("until", _("The end is not after the beginning."))
        return self.cleaned_data
