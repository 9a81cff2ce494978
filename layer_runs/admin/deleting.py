"""Deleting runs in the admin: the question, with all that would go, and the deed, in short batches."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin, helpers
from django.db import DatabaseError, router, transaction
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import formatting
from ..audit import Action, AuditEvent, record, user_name
from ..expressions import SumOfUsd
from ..models import LayerRun, LlmCall, Status
from .selecting import Selected

DELETE_ALL = "layer_runs.prune_runs"
LAYERS_SHOWN = 5
STATUSES_AT_MOST = 20
# What is locked is locked for a fraction of a second, and the request ends before a server loses its patience with it.
AT_ONCE = 100
SECONDS_AT_MOST = 15
# More can be ticked only by a request that no page makes.
RUNS_SHOWN = 200

logger = logging.getLogger(__name__)


def ask_or_delete(model_admin: ModelAdmin, request: HttpRequest, queryset: QuerySet) -> HttpResponseBase | None:
    """Ask before runs are deleted, and delete exactly those that were asked about; None is back to the list.

    Ticked runs go whatever their status. Of a whole selection running ones stay, their number has to be typed,
    and where other runs are in it than the page said, it is asked again.
    """
    selected = Selected.of(request, queryset)
    if selected.is_whole and not request.user.has_perm(DELETE_ALL):
        messages.error(
            request,
            _("Deleting all runs of a selection needs the permission “Can delete all runs of a selection at once”."),
        )
        return None
    if selected.refusal:
        messages.error(request, selected.refusal)
        return None
    runs = queryset.within(selected.window).exclude(status=Status.RUNNING) if selected.is_whole else queryset
    ids = _ids(runs)
    if not ids:
        messages.warning(request, _("There is no run to delete. Running ones are deleted only where they are ticked."))
        return None
    complaint = typed = ""
    if request.POST.get("post"):
        complaint = _complaint(request, ids) if selected.is_whole else ""
        if not complaint:
            rest = _delete(model_admin, request, selected, ids)
            if not rest:
                return HttpResponseRedirect(_way_back(request))
            done, ids = len(ids) - len(rest), _ids(runs)
            complaint = _("Deleted %s so far. A request takes no longer than this: go on with the rest.") % _runs(done)
            # Agreed to already, unless it is others by now.
            typed = str(len(ids)) if ids == rest else ""
    return _question(model_admin, request, selected, runs, ids, complaint, typed)


def _ids(runs: QuerySet) -> list[str]:
    return list(runs.newest_first().values_list("pk", flat=True))


def _complaint(request: HttpRequest, ids: list[str]) -> str:
    """Return why the answer does not yet delete these runs, or an empty text where it does."""
    if request.POST.get("digest") != _digest(ids):
        return _("The runs of this selection have changed since you were asked. Nothing was deleted: look again.")
    typed = "".join(request.POST.get("typed", "").replace(",", "").split())
    if typed != str(len(ids)):
        return _("Nothing was deleted: type %s to delete that many runs.") % formatting.count(len(ids))
    return ""


def _digest(ids: Iterable[str]) -> str:
    """Return what tells the same runs from others, were they as many."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _way_back(request: HttpRequest) -> str:
    # Only ever this list: what is posted is a query and no address.
    back = request.POST.get("back", request.META["QUERY_STRING"])
    return f"{request.path}?{back}" if back else request.path


# -- the question


def _question(
    model_admin: ModelAdmin,
    request: HttpRequest,
    selected: Selected,
    runs: QuerySet,
    ids: list[str],
    complaint: str,
    typed: str,
) -> HttpResponseBase:
    whole = selected.is_whole
    request.current_app = model_admin.admin_site.name
    sums = runs.order_by().aggregate(cost=SumOfUsd("estimated_cost_usd"), errors=Sum("error_count"))
    oldest, newest = runs.started_bounds()
    zone = timezone.get_default_timezone()
    sums["calls"] = LlmCall.objects.filter(run__in=runs.order_by().values("pk")).count()
    sums["running"] = selected.runs.filter(status=Status.RUNNING).order_by().count()
    by_status, by_layer = _groups(runs, "status"), _groups(runs, "layer_name")
    statuses = [status for status, _number in by_status]
    return TemplateResponse(
        request,
        "layer_runs/admin_delete_runs.html",
        model_admin.admin_site.each_context(request)
        | {
            "title": _("Delete runs"),
            "opts": model_admin.opts,
            "complaint": complaint,
            "typed": typed,
            "is_whole": whole,
            "sums": sums,
            "count": len(ids),
            "count_text": _runs(len(ids)),
            "oldest": formatting.exact(oldest, zone),
            "newest": formatting.exact(newest, zone),
            "statuses": _linked(by_status, "status", statuses, selected),
            "layers": _linked(by_layer[:LAYERS_SHOWN], "layer_name", statuses, selected),
            "more_layers": len(by_layer[LAYERS_SHOWN:]),
            "cost": formatting.usd_exact(sums["cost"]),
            "errors": formatting.count(sums["errors"]),
            "calls": formatting.count(sums["calls"]),
            "running": _runs(sums["running"]) if sums["running"] else "",
            "named": [] if whole else runs.newest_first()[:RUNS_SHOWN],
            # Of all of a selection no id is sent: the list's own filters say which runs it is.
            "ids": [""] if whole else ids,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
            "digest": _digest(ids),
            "url": selected.link() if whole else request.get_full_path(),
            "back": request.POST.get("back", request.META["QUERY_STRING"]),
            "back_url": _way_back(request),
        },
    )


def _groups(runs: QuerySet, name: str) -> list[tuple[str, int]]:
    """Return the values of a column with the number of runs of each, the most first."""
    return list(runs.order_by().values_list(name).annotate(runs=Count("*")).order_by("-runs", name))


def _linked(groups: list[tuple[str, int]], name: str, statuses: list[str], selected: Selected) -> list[Any]:
    """Return the groups as texts, with a link to exactly the runs of each, where there is one."""
    # The list shows running ones as well, which are not counted here: statuses in the link leave them out.
    is_named = selected.is_whole and all(statuses) and len(statuses) <= STATUSES_AT_MOST
    return [
        (
            value,
            formatting.count(number),
            selected.link(**({"status": statuses} | {name: [value]})) if is_named and value else "",
        )
        for value, number in groups
    ]


# -- the deed


def _delete(model_admin: ModelAdmin, request: HttpRequest, selected: Selected, ids: list[str]) -> list[str]:
    """Delete these runs, say how many it were, and return those that there was no time for.

    What leaves no trail is not done: raises the database's error where nothing can be recorded.
    """
    event = record(Action.DELETE, actor=user_name(request.user), what=selected.name(), runs=0)
    using = router.db_for_write(LayerRun)
    began, end = time.monotonic(), len(ids)
    try:
        # The oldest first: what is left, should it stop, is a selection's newer end.
        while end and (end == len(ids) or time.monotonic() - began < SECONDS_AT_MOST):
            start = max(0, end - AT_ONCE)
            with transaction.atomic(using=using):
                part = LayerRun.objects.using(using).filter(pk__in=ids[start:end])
                runs = part.only("source", "started_at", "layer_name")
                if selected.is_whole:
                    runs = runs.exclude(status=Status.RUNNING)
                model_admin.log_deletions(request, runs)
                done = event.runs + runs.delete()[1].get(LayerRun._meta.label, 0)
                # In the same transaction: the trail says what is gone, even if this process is killed.
                AuditEvent.objects.using(using).filter(pk=event.pk).update(runs=done)
            event.runs, end = done, start
    except DatabaseError:
        logger.exception("deleting runs stopped")
        said = _("The database failed after %(done)s of %(all)s runs. Those are deleted; all others are as they were.")
        messages.error(request, said % {"done": formatting.count(event.runs), "all": formatting.count(len(ids))})
        return []
    event.count(event.runs)
    if not end:
        messages.success(request, _("Deleted %s. No import brings them back.") % _runs(event.runs))
    if left := len(ids) - end - event.runs:
        messages.warning(request, _("Left %s: deleted by somebody else meanwhile, or running again.") % _runs(left))
    return ids[:end]


def _runs(number: int) -> str:
    return ngettext("%s run", "%s runs", number) % formatting.count(number)
