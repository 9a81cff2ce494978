"""One sentence that says what happened to a run. It claims no more than the run's figures do."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import formatting
from ..columns import silence
from ..models import LayerRun, Status


def headline(run: LayerRun, now: datetime) -> str:
    """Return what happened, in a sentence."""
    tell = _TELLERS.get(run.status)
    if tell:
        return tell(run, now)
    return _("Ended as “%s”, a status of its source's own.") % run.status if run.status else _("It has no status.")


def _running(run: LayerRun, now: datetime) -> str:
    quiet = silence(run, now)
    return _("Still running, but there was %s.") % quiet if quiet else _("Still running.")


def _crashed(run: LayerRun, now: datetime) -> str:
    lived = run.last_sign_of_life - run.started_at
    if lived <= timedelta(0):
        return _("Stopped without finishing: nothing was heard of it after its start.")
    last = formatting.duration(int(lived.total_seconds() * 1000))
    return _("Stopped without finishing: its last sign of life came %s after its start.") % last


def _failed(run: LayerRun, now: datetime) -> str:
    if not run.targets_skipped:
        return _("The run failed.")
    if run.targets_skipped < run.targets_matched or run.targets_processed:
        return _("%(failed)s of %(matched)s targets failed, and the run with them.") % _figures(run)
    what = ngettext("Its only target failed", "All %(failed)s targets failed", run.targets_skipped) % _figures(run)
    if run.insights_created:
        return _("%(what)s, after %(made)s.") % {"what": what, "made": _made(run)}
    return _("%(what)s and nothing was produced.") % {"what": what}


def _partial(run: LayerRun, now: datetime) -> str:
    return _("%(processed)s of %(matched)s targets were processed and made %(made)s; %(failed)s failed.") % _figures(
        run
    )


def _dry(run: LayerRun, now: datetime) -> str:
    if run.insights_created:
        return _("A dry run, though it made %(made)s.") % _figures(run)
    if not run.targets_matched:
        return _("Nothing to do: no target matched.")
    if not run.targets_processed:
        return _("A dry run: nothing was done and nothing produced.")
    return ngettext(
        "One target was gone through and nothing was produced.",
        "%(processed)s targets were gone through and nothing was produced.",
        run.targets_processed,
    ) % _figures(run)


def _success(run: LayerRun, now: datetime) -> str:
    if not run.targets_matched:
        return _("Finished, and made %(made)s.") % _figures(run)
    if run.targets_processed != run.targets_matched:
        return _("%(processed)s of %(matched)s targets were processed and made %(made)s.") % _figures(run)
    return ngettext(
        "Its only target was processed and made %(made)s.",
        "All %(matched)s targets were processed and made %(made)s.",
        run.targets_matched,
    ) % _figures(run)


def _made(run: LayerRun) -> str:
    number = run.insights_created
    if not number:
        return _("nothing")
    return ngettext("%s insight", "%s insights", number) % formatting.count(number)


def _figures(run: LayerRun) -> dict[str, str]:
    return {
        "matched": formatting.count(run.targets_matched),
        "processed": formatting.count(run.targets_processed),
        "failed": formatting.count(run.targets_skipped),
        "made": _made(run),
    }


_TELLERS = {
    Status.RUNNING.value: _running,
    Status.CRASHED.value: _crashed,
    Status.FAILED.value: _failed,
    Status.PARTIAL.value: _partial,
    Status.DRY.value: _dry,
    Status.SUCCESS.value: _success,
}
