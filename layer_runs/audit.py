"""The trail of what destroys and what reveals: who did it, what it was, and how many it touched."""

from __future__ import annotations

import getpass
import logging
import socket
from typing import Any

from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import CleanTextField
from .lines import one_line

logger = logging.getLogger("layer_runs.audit")
# As long as the column: a log line is no place for more than the database keeps.
_LOGGED = 2000


class Action(models.TextChoices):
    EXPORT = "export", _("Export")
    DELETE = "delete", _("Delete")
    PRUNE = "prune", _("Prune")
    RESCUE = "rescue", _("Rescue")
    IMPORT = "import", _("Import")


class AuditEvent(models.Model):
    """One act. Written once by `record()`, corrected by nobody; it outlives the runs it is about."""

    at = models.DateTimeField(default=timezone.now)
    action = CleanTextField(max_length=32, choices=Action)
    actor = CleanTextField(max_length=200, help_text=_("A user's name, or the account and machine of a command."))
    what = CleanTextField(max_length=2000, blank=True, help_text=_("The selection, the file or the source."))
    runs = models.BigIntegerField(null=True, blank=True, help_text=_("How many; empty while it is not known."))

    class Meta:
        # Nobody adds, changes or deletes what they did.
        default_permissions = ("view",)
        indexes = [
            models.Index(F("at").desc(), F("id").desc(), name="auditevent_at"),
            models.Index("action", F("at").desc(), F("id").desc(), name="auditevent_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"

    def count(self, runs: int) -> None:
        """Fill in how many it was, where that is only known at the end."""
        self.runs = runs
        type(self).objects.filter(pk=self.pk).update(runs=runs)
        _log(self)


def record(action: Action, *, actor: str, what: str = "", runs: int | None = None) -> AuditEvent:
    """Keep an act in the database and in the log `layer_runs.audit`.

    Raises the database's error where it cannot be kept: what leaves no trail is not done.
    """
    event = AuditEvent.objects.create(action=action, actor=actor, what=what, runs=runs)
    _log(event)
    return event


def user_name(user: Any) -> str:
    """Return what the trail calls a user of the site."""
    return str(user.get_username())


def process_owner() -> str:
    """Return what the trail calls whoever runs a command: account and machine."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = "unknown"  # A container's user without a name.
    return f"{account}@{socket.gethostname()}"


def _log(event: AuditEvent) -> None:
    # What an export sends are rows, and a lens has other rows than runs.
    unit = "rows" if event.action == Action.EXPORT else "runs"
    amount = "?" if event.runs is None else event.runs
    logger.info(
        "%s by %s: %s (%s %s)", event.action, one_line(event.actor), one_line(event.what[:_LOGGED]), amount, unit
    )
