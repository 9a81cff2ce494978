"""The tables of the Costs lens by model, profile and call type. Each adds up to the whole."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TypeVar

from django.utils.translation import gettext as _

from .spending import BEYOND, NOTHING, RUN, Spending, Sums, Use
from .tables import Cell, Links, Row, Table, cost_cell, count_cell, share_cell

Key = TypeVar("Key", bound=Hashable)


def by_use(now: Spending, links: Links) -> Table:
    """Return a row for each model, profile and call type together."""

    def row(key: tuple[str, str, str, str], sums: Sums) -> Row:
        model, profile, call_type, origin = key
        # The link asks for runs that called the model, and for calls of this type: of the one as of the other.
        url = links.runs(called=model, call_type=call_type) if origin not in (RUN, BEYOND) else ""
        return Row(
            _model(model, origin),
            _cells(sums, now, url, in_full=True),
            sub=_("profile %s") % profile if profile else "",
            second=_call_type(call_type, origin),
            quiet=not model,
        )

    return _table(
        now, lambda use: (use.model, use.profile, use.call_type, use.origin), row, _("All calls"), in_full=True
    )


def by_model(now: Spending, links: Links) -> Table:
    # Runs without calls have no model called: a row that holds some of them is not what `called` finds.
    uncalled = {use.model for use in now.uses if use.origin == RUN and use.sums}

    def row(key: tuple[str, bool], sums: Sums) -> Row:
        model, is_beyond = key
        url = "" if is_beyond or model in uncalled else links.runs(called=model)
        return Row(_model(model, BEYOND if is_beyond else ""), _cells(sums, now, url), quiet=not model)

    return _table(now, lambda use: (use.model, use.origin == BEYOND), row, _("All models"))


def by_profile(now: Spending) -> Table:
    """Return a row a profile. The selection knows the profile of a run, and not those of its calls: no links."""

    def row(key: tuple[str, bool], sums: Sums) -> Row:
        profile, is_beyond = key
        name = _beyond() if is_beyond else profile or _("no profile")
        return Row(name, _cells(sums, now), quiet=not profile)

    return _table(now, lambda use: (use.profile, use.origin == BEYOND), row, _("All profiles"))


def by_call_type(now: Spending, links: Links) -> Table:
    def row(key: tuple[str, str], sums: Sums) -> Row:
        call_type, origin = key
        url = links.runs(call_type=call_type) if not origin else ""
        return Row(_call_type(call_type, origin) or _beyond(), _cells(sums, now, url), quiet=not call_type)

    return _table(
        now, lambda use: (use.call_type, use.origin if use.origin in (RUN, BEYOND) else ""), row, _("All call types")
    )


def _table(
    now: Spending,
    key: Callable[[Use], Key],
    row: Callable[[Key, Sums], Row],
    all_of_them: str,
    *,
    in_full: bool = False,
) -> Table:
    """Return the rows that used anything, the dearest first."""
    groups = sorted(now.by(key).items(), key=lambda item: (-item[1].cost, -item[1].tokens, str(item[0])))
    whole = sum((sums for _key, sums in groups), NOTHING)
    rows = [row(key, sums) for key, sums in groups if sums or sums.calls]
    return Table(rows, Row(all_of_them, _cells(whole, now, in_full=in_full)))


def _cells(sums: Sums, now: Spending, url: str = "", *, in_full: bool = False) -> list[Cell]:
    whole = now.whole.sums.cost
    tokens = (
        [count_cell(sums.tokens_input, "lr-opt"), count_cell(sums.tokens_output, "lr-opt")]
        if in_full
        else [count_cell(sums.tokens, "lr-opt")]
    )
    cost = cost_cell(sums, url)
    if url:
        # The selection is made of runs: one that called the model may have called others too.
        cost = replace(cost, title=f"{cost.title}. {_('Leads to the runs that called it; their whole cost differs.')}")
    return [count_cell(sums.calls), *tokens, cost, share_cell(sums.cost, whole)]


def _model(model: str, origin: str) -> str:
    return _beyond() if origin == BEYOND else model or _("no model named")


def _call_type(call_type: str, origin: str) -> str:
    if origin == RUN:
        return _("no calls")
    return "" if origin == BEYOND else call_type or _("no type")


def _beyond() -> str:
    return _("beyond its calls")
