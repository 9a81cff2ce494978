"""Reading a Zos database while Zos is writing it: its rows in, plain rows in our columns out, nothing written."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from . import SourceError
from .zos_rows import CALL_COLUMNS, RUN_COLUMNS, RejectedRun, ZosReader, ZosRun

BATCH = 500
BUSY_SECONDS = 20
NEEDED = {"layer_runs": RUN_COLUMNS, "llm_calls": ("layer_run_id", *CALL_COLUMNS)}

# The text of these statements is column names of our own. Rows come in the order they were written:
# that key never changes, so a run that arrives or ends while we read is seen now or by the next import.
_RUNS = f"SELECT rowid, {', '.join(RUN_COLUMNS)} FROM layer_runs WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
# CROSS JOIN keeps SQLite from scanning all calls for the sake of one batch of runs.
_CALLS = (
    f"SELECT run.rowid, {', '.join(f'call.{column}' for column in CALL_COLUMNS)}"  # noqa: S608
    " FROM layer_runs AS run CROSS JOIN llm_calls AS call ON call.layer_run_id = run.id"
    " WHERE run.rowid > ? AND run.rowid <= ? ORDER BY call.rowid"
)
_CALLS_WITHOUT_A_RUN = (
    "SELECT count(*) FROM llm_calls AS call WHERE call.layer_run_id IS NULL"
    " OR NOT EXISTS (SELECT 1 FROM layer_runs AS run WHERE run.id = call.layer_run_id)"
)


class ZosDatabase:
    """A Zos database, opened read-only. Every method raises SourceError when the file cannot be read."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not os.path.exists(path):
            raise SourceError(f"There is no file {path}.")
        if not os.path.isfile(path):
            raise SourceError(f"{path} is not a file.")
        # Quoted, so that nothing in a path is taken for a parameter: `immutable=1` would hide Zos's newest rows.
        uri = f"file:{quote(os.path.abspath(path))}?mode=ro"
        with self._plainly():
            self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        # Bytes that are no UTF-8 come through as lone surrogates, which the reader of values replaces and notes.
        self._connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        try:
            with self._plainly():
                self._connection.execute("PRAGMA query_only = 1")
            self._check_columns()
        except SourceError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def count_runs(self) -> int:
        return self._number("SELECT count(*) FROM layer_runs")

    def count_calls_without_a_run(self) -> int:
        return self._number(_CALLS_WITHOUT_A_RUN)

    def batches(self, source: str, now: datetime) -> Iterator[list[ZosRun | RejectedRun]]:
        """Yield every run with its calls, `BATCH` runs at a time. No transaction stays open in between."""
        reader = ZosReader(source, now)
        version, after = self._number("PRAGMA schema_version"), -(2**63)
        while True:
            with self._plainly(), self._snapshot():
                if self._number("PRAGMA schema_version") != version:
                    # VACUUM numbers the rows anew: what follows would not be what is left.
                    raise SourceError(f"{self.path} was rebuilt while it was read. Run the import again.")
                rows = self._connection.execute(_RUNS, (after, BATCH)).fetchall()
                last = rows[-1][0] if rows else after
                calls = self._connection.execute(_CALLS, (after, last)).fetchall()
            if not rows:
                return
            after = last
            calls_of = defaultdict(list)
            for rowid, *call in calls:
                calls_of[rowid].append(call)
            yield [reader.read(row, calls_of[rowid]) for rowid, *row in rows]

    def _check_columns(self) -> None:
        for table, needed in NEEDED.items():
            with self._plainly():
                found = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
            if not found:
                raise SourceError(f"{self.path} is no Zos database: it has no table {table}.")
            if missing := [column for column in needed if column not in found]:
                raise SourceError(f"{self.path} cannot be imported: its table {table} lacks {', '.join(missing)}.")

    def _number(self, sql: str) -> int:
        with self._plainly():
            return self._connection.execute(sql).fetchone()[0]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """See runs and their calls as of one moment, whatever Zos commits meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what SQLite says into a sentence."""
        try:
            yield
        except sqlite3.Error as error:
            raise SourceError(self._sentence(str(error))) from error

    def _sentence(self, said: str) -> str:
        if "not a database" in said:
            return f"{self.path} is not an SQLite database."
        if "locked" in said:
            return f"{self.path} stayed locked by another program for {BUSY_SECONDS} seconds. Try again later."
        if "unable to open" in said or "readonly" in said:
            return (
                f"{self.path} cannot be opened: {said}. This user needs the right to read it and, in WAL mode,"
                f" to write in its directory; without that, import a copy made by `VACUUM INTO`."
            )
        return f"{self.path} cannot be read on: {said}."
