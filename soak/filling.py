"""`python -m soak.filling RUNS REPORT`: fill an empty database, and write down what a visitor of it has to know."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import django

EVERY, ERRORS = 100, 100
HUGE = {"soak-10k": 10_000, "soak-100k": 100_000}
PASSWORD = "soak the whole site"  # noqa: S105
KNOWN = 300


def main() -> None:
    number, report = int(sys.argv[1]), Path(sys.argv[2])
    django.setup()
    # Only now can what is built on the models be imported.
    from django.utils import timezone

    from bench import databases, runs

    now = timezone.now()
    with databases.unchecked():
        databases.fill(with_errors(runs.runs_before(now, number - len(HUGE)), runs))
        databases.fill(huge(now, next(runs.runs_before(now, 1)), runs))
    databases.tidy()
    report.write_text(json.dumps(known()))


def with_errors(made: Iterable[Any], runs: Any) -> Iterator[Any]:
    """Yield the runs; every hundredth has a hundred errors."""
    for place, run in enumerate(made):
        yield erring(run, ERRORS, runs) if place % EVERY == 0 else run


def huge(now: datetime, like: Any, runs: Any) -> Iterator[Any]:
    """Yield the runs with more errors than a page can hold: in the last month, and not in the last week."""
    for weeks, (key, errors) in enumerate(HUGE.items(), start=2):
        started = now - timedelta(weeks=weeks)
        names = {"id": key, "started_at": started, "completed_at": started + timedelta(minutes=5)}
        row = tuple((dict(zip(runs.RUN_COLUMNS, like.row, strict=True)) | names).values())
        yield erring(runs.Run(row, [], []), errors, runs)


def erring(run: Any, number: int, runs: Any) -> Any:
    """Return a run that failed for so many targets."""
    from layer_runs.errors import read_errors

    texts = [runs.ERRORS[n % len(runs.ERRORS)] for n in range(number)]
    errors = [
        {"topic": f"server:1:user:{n % 500}", "error": f"{text} ({n})", "node": node}
        for n, (node, text) in enumerate(texts)
    ]
    values = dict(zip(runs.RUN_COLUMNS, run.row, strict=True))
    values |= {"status": "partial", "targets_skipped": number, "errors": json.dumps(errors)}
    lines = [
        (values["id"], error.position, error.topic, error.node, error.message, error.fingerprint, values["started_at"])
        for error in read_errors(errors)
    ]
    return runs.Run(tuple(values.values()), lines, run.calls)


def known() -> dict[str, Any]:
    """Return a session, a password, and some of what there is to look at."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    from layer_runs.models import LayerRun

    user = User.objects.create_superuser("soak", password=PASSWORD)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    newest = LayerRun.objects.newest_first()
    return {
        "session": session.session_key,
        "password": PASSWORD,
        "ids": list(newest.values_list("pk", flat=True)[:KNOWN]),
        "layers": LayerRun.objects.values_of("layer_name"),
        "runs": LayerRun.objects.count(),
    }


if __name__ == "__main__":
    main()
