"""A Zos database of the usual shape: 8 calls a run, prompts and responses and all."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from . import runs

SCHEMA = """
CREATE TABLE layer_runs (
    id VARCHAR NOT NULL, layer_name VARCHAR NOT NULL, layer_hash VARCHAR NOT NULL, started_at DATETIME NOT NULL,
    completed_at DATETIME, status VARCHAR NOT NULL, targets_matched INTEGER NOT NULL,
    targets_processed INTEGER NOT NULL, targets_skipped INTEGER NOT NULL, insights_created INTEGER NOT NULL,
    model_profile VARCHAR, model_provider VARCHAR, model_name VARCHAR, tokens_input INTEGER, tokens_output INTEGER,
    tokens_total INTEGER, estimated_cost_usd FLOAT, errors JSON, PRIMARY KEY (id)
);
CREATE TABLE llm_calls (
    id VARCHAR NOT NULL, layer_run_id VARCHAR, topic_key VARCHAR, call_type VARCHAR NOT NULL,
    model_profile VARCHAR NOT NULL, model_provider VARCHAR NOT NULL, model_name VARCHAR NOT NULL, prompt TEXT NOT NULL,
    response TEXT, tokens_input INTEGER NOT NULL, tokens_output INTEGER NOT NULL, tokens_total INTEGER NOT NULL,
    estimated_cost_usd FLOAT, latency_ms INTEGER, success BOOLEAN NOT NULL, error_message VARCHAR,
    created_at DATETIME NOT NULL, PRIMARY KEY (id), FOREIGN KEY(layer_run_id) REFERENCES layer_runs (id)
);
CREATE INDEX ix_layer_runs_status ON layer_runs (status);
CREATE INDEX ix_layer_runs_name_started ON layer_runs (layer_name, started_at);
CREATE INDEX ix_llm_calls_type_created ON llm_calls (call_type, created_at);
CREATE INDEX ix_llm_calls_created ON llm_calls (created_at);
CREATE INDEX ix_llm_calls_layer_run ON llm_calls (layer_run_id);
CREATE INDEX ix_llm_calls_profile ON llm_calls (model_profile);
"""
PROMPT = "A prompt as long as they are. " * 100
START = datetime(2026, 1, 1, tzinfo=UTC)


def write(path: Path, number: int) -> int:
    """Write a database of `number` runs and return how many calls they made."""
    path.unlink(missing_ok=True)
    made = list(runs.runs_before(START, number))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;{SCHEMA}")
        calls = [_call(call) for run in made for call in run.calls]
        _insert(connection, "llm_calls", calls)
        _insert(connection, "layer_runs", [_run(run.row) for run in made])
    return len(calls)


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple]) -> None:
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _run(row: runs.Row) -> tuple:
    run = dict(zip(runs.RUN_COLUMNS, row, strict=True))
    return (
        *(run["id"], run["layer_name"], run["layer_hash"], _text(run["started_at"]), _text(run["completed_at"])),
        *(run["status"], run["targets_matched"], run["targets_processed"], run["targets_skipped"]),
        *(run["insights_created"], run["model_profile"], run["model_provider"], run["model_name"]),
        *(run["tokens_input"], run["tokens_output"], run["tokens_total"], (run["estimated_cost_usd"] or 0) / 1e9),
        "null" if run["errors"] == "[]" else json.dumps(json.loads(run["errors"])),
    )


def _call(row: runs.Row) -> tuple:
    call = dict(zip(runs.CALL_COLUMNS, row, strict=True))
    return (
        *(call["id"], call["run_id"], call["topic"], call["call_type"], call["model_profile"]),
        *(call["model_provider"], call["model_name"], PROMPT, PROMPT[:400] if call["success"] else None),
        *(call["tokens_input"], call["tokens_output"], call["tokens_total"], _usd(call["estimated_cost_usd"])),
        *(call["latency_ms"], call["success"], call["error_message"] or None, _text(call["created_at"])),
    )


def _usd(nano_dollars: int | None) -> float | None:
    return None if nano_dollars is None else nano_dollars / 1e9


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")
