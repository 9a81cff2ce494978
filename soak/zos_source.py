"""A Zos database to import: made, written while it is read, and compared with what was imported, by other code."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.zos import SCHEMA

from .stage import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = (
    *("id", "layer_name", "layer_hash", "started_at", "completed_at", "status"),
    *("targets_matched", "targets_processed", "targets_skipped", "insights_created"),
    *("model_profile", "model_provider", "model_name", "tokens_input", "tokens_output", "tokens_total"),
    *("estimated_cost_usd", "errors"),
)
CALL = (
    *("id", "layer_run_id", "topic_key", "call_type", "model_profile", "model_provider", "model_name"),
    *("tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd", "latency_ms", "success", "error_message"),
    "created_at",
)
# The same columns as the app stores them.
STORED_CALL = tuple({"layer_run_id": "run_id", "topic_key": "topic"}.get(name, name) for name in CALL)


def run_of(dice: random.Random, number: int, calls: int) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Return a run and its calls, whose sums are those of the run."""
    started = START + timedelta(seconds=40 * number, microseconds=dice.randrange(10**6))
    key = f"z{number:08}"
    made = []
    for n in range(calls):
        tokens, answer, nano = dice.randrange(8_000), dice.randrange(600), dice.randrange(10**8)
        made.append((
            *(f"{key}-{n}", key, f"server:1:user:{dice.randrange(500)}", "reflection", "reflection", "anthropic"),
            *("claude-haiku-4-5", tokens, answer, tokens + answer, nano / 1e9, dice.randrange(20_000), 1, None),
            _text(started + timedelta(seconds=n)),
        ))  # fmt: skip
    errors = [{"topic": "server:1:user:7", "error": f"Request {number} timed out.", "node": "reflect"}]
    failed = dice.random() < 0.1
    row = (
        *(key, f"layer-{number % 12}", f"{number % 7:016x}", _text(started), _text(started + timedelta(seconds=30))),
        *("partial" if failed else "success", calls + 1, calls, int(failed), calls),
        *("reflection", "anthropic", "claude-sonnet-4-6"),
        *(sum(call[column] for call in made) for column in (7, 8, 9)),
        sum(round(call[10] * 1e9) for call in made) / 1e9,
        json.dumps(errors if failed else None),
    )
    return row, made


def make(path: Path, number: int, seed: int, *, calls: int = 3) -> None:
    dice = random.Random(seed)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;{SCHEMA}")
        for start in range(0, number, 5_000):
            made = [run_of(dice, n, calls) for n in range(start, min(start + 5_000, number))]
            insert(connection, made)


def insert(connection: sqlite3.Connection, made: list[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]) -> None:
    runs, calls = (", ".join(names) for names in (RUN, (*CALL, "prompt")))
    connection.executemany(
        f"INSERT INTO layer_runs ({runs}) VALUES ({', '.join('?' * len(RUN))})", [row for row, _calls in made]
    )
    connection.executemany(
        f"INSERT INTO llm_calls ({calls}) VALUES ({', '.join('?' * (len(CALL) + 1))})",
        [(*call, "A prompt.") for _row, calls in made for call in calls],
    )


def digest(path: Path) -> str:
    """Return a hash of the schema and every row."""
    found = hashlib.sha256()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for sql in ("SELECT sql FROM sqlite_master ORDER BY name", "SELECT * FROM layer_runs ORDER BY rowid",
                    "SELECT * FROM llm_calls ORDER BY rowid"):  # fmt: skip
            for row in connection.execute(sql):
                found.update(repr(row).encode())
    return found.hexdigest()


def differences(path: Path, database: Database) -> int:
    """Return how many runs and calls are not, in every field, what their source says; each is compared by hash."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
        wanted = _hashes(source.execute(f"SELECT {', '.join(RUN)} FROM layer_runs"), RUN, of_source=True)
        calls = _hashes(source.execute(f"SELECT {', '.join(CALL)} FROM llm_calls"), CALL, of_source=True)
    stored = _hashes(
        database.rows(f"SELECT {', '.join(RUN)} FROM layer_runs_layerrun WHERE id LIKE 'z0%'"), RUN, of_source=False
    )
    stored_calls = _hashes(
        database.rows(f"SELECT {', '.join(STORED_CALL)} FROM layer_runs_llmcall WHERE id LIKE 'z0%'"),
        CALL,
        of_source=False,
    )
    return len(wanted ^ stored) + len(calls ^ stored_calls)


def _hashes(rows: Any, names: tuple[str, ...], *, of_source: bool) -> set[str]:
    return {
        hashlib.sha256(
            repr([_plain(name, value, of_source) for name, value in zip(names, row, strict=True)]).encode()
        ).hexdigest()
        for row in rows
    }


def _plain(name: str, value: Any, of_source: bool) -> Any:
    """Return a value in the one form that both sides are compared in."""
    if name.endswith("_at") and value is not None:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if name == "estimated_cost_usd" and value is not None:
        return round(value * 1e9) if of_source else int(value)
    if name == "errors":
        read = json.loads(value) if isinstance(value, str) else value
        return json.dumps(read or [], sort_keys=True)
    if name == "success":
        return bool(value)
    return value or "" if name == "error_message" else value


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def main() -> None:
    """`python -m soak.zos_source PATH SAID`: insert and update 200 rows a second, and say what that met."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("said")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    said = os.open(options.said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with closing(sqlite3.connect(options.path, isolation_level=None, timeout=0.5)) as connection:
        for line in write(connection, Path(f"{options.path}-wal"), options.seconds, random.Random(options.seed)):
            os.write(said, f"{json.dumps(line)}\n".encode())


def write(connection: sqlite3.Connection, wal: Path, seconds: float, dice: random.Random) -> Iterator[dict[str, Any]]:
    """Write as Zos does: begin a run, end an earlier one, checkpoint every second."""
    number = connection.execute("SELECT count(*) FROM layer_runs").fetchone()[0]
    begun, turn = time.monotonic(), 0
    connection.execute("PRAGMA synchronous = NORMAL")
    while time.monotonic() < begun + seconds:
        turn += 1
        row, calls = run_of(dice, number, 1)
        try:
            # Four rows a turn: a run that begins, its call, an earlier one twice.
            insert(connection, [(row[:4] + (None, "dry") + row[6:], calls)])
            for earlier in (number - 1, dice.randrange(max(number - 50, 0), number)):
                connection.execute(
                    "UPDATE layer_runs SET completed_at = datetime(started_at, '+30 seconds'), status = 'success'"
                    " WHERE id = ?",
                    [f"z{earlier:08}"],
                )
            if turn % 50 == 0:
                blocked = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                yield {"blocked": blocked}
        except sqlite3.OperationalError as error:
            yield {"error": str(error)}
        number += 1
        yield {"rows": 4, "wal": wal.stat().st_size if wal.exists() else 0}
        time.sleep(max(begun + turn * 0.02 - time.monotonic(), 0))
    connection.execute("UPDATE layer_runs SET completed_at = started_at, status = 'success' WHERE completed_at IS NULL")


if __name__ == "__main__":
    main()
