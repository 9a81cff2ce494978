"""One sentence that says what changed between two runs. It claims no more than their figures do."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import formatting
from ...models import LayerRun, Status
from .fields import Section, cost_per_target, part_of


def what_changed(before: LayerRun, after: LayerRun, sections: list[Section]) -> str:
    """Return what changed, causes first: `Another version of the layer, 4 more targets failed.`"""
    if before == after:
        return _("This is one run, compared with itself.")
    clauses = [*_causes(before, after), *_effects(before, after)]
    if not clauses:
        is_other = any(section.differs for section in sections)
        clauses.append(_("what differs is marked below") if is_other else _("no figure differs"))
    if before.layer_name == after.layer_name and before.layer_hash == after.layer_hash != "":
        clauses.insert(0, _("the same version of the layer"))
    text = ", ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _causes(before: LayerRun, after: LayerRun) -> Iterator[str]:
    if before.layer_name != after.layer_name:
        yield _("two different layers")
    elif before.layer_hash and after.layer_hash and before.layer_hash != after.layer_hash:
        yield _("another version of the layer")
    if before.model_name and after.model_name and before.model_name != after.model_name:
        yield _("another model")


def _effects(before: LayerRun, after: LayerRun) -> Iterator[str]:
    if before.status != after.status:
        words = {"before": before.status or _("no status"), "after": after.status or _("no status")}
        yield _("%(after)s instead of %(before)s") % words
    failed = after.targets_skipped - before.targets_skipped
    if failed > 0:
        yield ngettext("%s more target failed", "%s more targets failed", failed) % formatting.count(failed)
    elif failed < 0:
        yield ngettext("%s fewer target failed", "%s fewer targets failed", -failed) % formatting.count(-failed)
    insights = after.insights_created - before.insights_created
    if insights > 0:
        yield ngettext("%s more insight", "%s more insights", insights) % formatting.count(insights)
    elif insights < 0:
        yield ngettext("%s fewer insight", "%s fewer insights", -insights) % formatting.count(-insights)
    yield from _price(before, after)
    if Status.RUNNING.value in (before.status, after.status):
        yield _("but the figures of a run that is still running are not final")


def _price(before: LayerRun, after: LayerRun) -> Iterator[str]:
    """Yield how much more a target cost. What has no price would make it look cheaper than it was."""
    costs = cost_per_target(before), cost_per_target(after)
    if before.unpriced_tokens or after.unpriced_tokens or not all(costs):
        return
    part: Decimal = part_of(*costs)
    percent = formatting.change(abs(part)).lstrip("+")
    if part and not percent.startswith("±"):
        yield (_("%s more expensive per target") if part > 0 else _("%s cheaper per target")) % percent
