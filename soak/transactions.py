"""How long SQLite's write lock is held, and a command of the site run under that clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import django


@contextmanager
def longest_write() -> Iterator[list[float]]:
    """Keep the milliseconds of the longest transaction of this process so far: from its lock to its end."""
    from django.db import connections

    connection = connections["default"]
    longest, begun = [0.0], [0.0]
    kind = type(connection)
    if connection.vendor != "sqlite":
        yield longest
        return
    begin, commit, rollback = kind._start_transaction_under_autocommit, kind._commit, kind._rollback

    def start(self: Any) -> None:
        begin(self)
        begun[0] = time.perf_counter()

    def ended(end: Any) -> Any:
        def call(self: Any) -> Any:
            try:
                return end(self)
            finally:
                if begun[0]:
                    longest[0] = max(longest[0], (time.perf_counter() - begun[0]) * 1000)
                begun[0] = 0.0

        return call

    with (
        mock.patch.object(kind, "_start_transaction_under_autocommit", start),
        mock.patch.object(kind, "_commit", ended(commit)),
        mock.patch.object(kind, "_rollback", ended(rollback)),
    ):
        yield longest


def main() -> None:
    """`python -m soak.transactions COMMAND ...` runs it and says `longest write N ms`."""
    from django.core.management import call_command

    django.setup()
    with longest_write() as longest:
        try:
            call_command(*sys.argv[1:])
        finally:
            sys.stdout.write(f"longest write {longest[0]:.1f} ms\n")


if __name__ == "__main__":
    main()
