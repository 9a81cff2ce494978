"""A Zos database for tests: made with Zos's own tables, filled row by row, odd where a test wants it odd."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# As Zos declares them: SQLite's type affinities decide what becomes of an odd value.
SCHEMA = """
CREATE TABLE layer_runs (
    id VARCHAR NOT NULL, layer_name VARCHAR NOT NULL, layer_hash VARCHAR NOT NULL,
    started_at DATETIME NOT NULL, completed_at DATETIME, status VARCHAR NOT NULL,
    targets_matched INTEGER NOT NULL, targets_processed INTEGER NOT NULL,
    targets_skipped INTEGER NOT NULL, insights_created INTEGER NOT NULL,
    model_profile VARCHAR, model_provider VARCHAR, model_name VARCHAR,
    tokens_input INTEGER, tokens_output INTEGER, tokens_total INTEGER,
    estimated_cost_usd FLOAT, errors JSON, PRIMARY KEY (id)
);
CREATE TABLE llm_calls (
    id VARCHAR NOT NULL, layer_run_id VARCHAR, topic_key VARCHAR, call_type VARCHAR NOT NULL,
    model_profile VARCHAR NOT NULL, model_provider VARCHAR NOT NULL, model_name VARCHAR NOT NULL,
    prompt TEXT NOT NULL, response TEXT,
    tokens_input INTEGER NOT NULL, tokens_output INTEGER NOT NULL, tokens_total INTEGER NOT NULL,
    estimated_cost_usd FLOAT, latency_ms INTEGER, success BOOLEAN NOT NULL, error_message VARCHAR,
    created_at DATETIME NOT NULL, PRIMARY KEY (id), FOREIGN KEY(layer_run_id) REFERENCES layer_runs (id)
);
CREATE INDEX ix_llm_calls_layer_run ON llm_calls (layer_run_id);
"""
# The same tables with nothing forbidden, for rows that Zos itself could not write.
LAX_SCHEMA = SCHEMA.replace(" NOT NULL", "").replace(", PRIMARY KEY (id)", "")

RUN = {
    "layer_name": "nightly-user-reflection",
    "layer_hash": "a87efb9b10c24d5f",
    "started_at": "2026-11-01 10:00:00.000000",
    "completed_at": "2026-11-01 10:01:30.250000",
    "status": "success",
    "targets_matched": 10,
    "targets_processed": 10,
    "targets_skipped": 0,
    "insights_created": 10,
    "model_profile": "reflection",
    "model_provider": "anthropic",
    "model_name": "claude-sonnet-4-6",
    "tokens_input": 1_000,
    "tokens_output": 100,
    "tokens_total": 1_100,
    "estimated_cost_usd": 0.0045,
    "errors": "null",
}
CALL = {
    "topic_key": "server:1:user:0",
    "call_type": "reflection",
    "model_profile": "reflection",
    "model_provider": "anthropic",
    "model_name": "claude-sonnet-4-6",
    "prompt": "(a prompt)",
    "response": "(a response)",
    "tokens_input": 500,
    "tokens_output": 50,
    "tokens_total": 550,
    "estimated_cost_usd": 0.00225,
    "latency_ms": 1_200,
    "success": 1,
    "error_message": None,
    "created_at": "2026-11-01 10:00:05.000000",
}


class ZosTestDatabase:
    """Writes a Zos database as Zos does. Each row is believable but for what a test says about it."""

    def __init__(self, path: Path, schema: str = SCHEMA, *, wal: bool = False) -> None:
        self.path = path
        # Autocommit: every row is there for a reader as soon as it is written.
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.execute("PRAGMA synchronous = OFF")
        if wal:
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA wal_autocheckpoint = 0")
        self.connection.executescript(schema)
        self._made = 0

    def __str__(self) -> str:
        return str(self.path)

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, id: Any = "auto", **values: Any) -> Any:
        """Add a run and return its id."""
        self._made += 1
        id = f"run{self._made:05}" if id == "auto" else id
        self._insert("layer_runs", {"id": id, **RUN, **values})
        return id

    def call(self, run_id: Any, id: Any = "auto", **values: Any) -> Any:
        """Add a call of a run and return its id."""
        self._made += 1
        id = f"call{self._made:05}" if id == "auto" else id
        self._insert("llm_calls", {"id": id, "layer_run_id": run_id, **CALL, **values})
        return id

    def runs(self, number: int, *, calls: int = 0, **values: Any) -> None:
        """Add many runs in one transaction."""
        self.execute("BEGIN")
        for _ in range(number):
            run_id = self.run(**values)
            for _ in range(calls):
                self.call(run_id)
        self.execute("COMMIT")

    def change(self, run_id: str, **values: Any) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        self.execute(f"UPDATE layer_runs SET {assignments} WHERE id = ?", *values.values(), run_id)

    def damage(self, offset: int, length: int = 6_000) -> None:
        """Overwrite a part of the file, as a failing disk would."""
        self.connection.close()
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xa5" * length)

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        names, places = ", ".join(row), ", ".join("?" * len(row))
        self.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())


def invalid_utf8(text: bytes) -> str:
    """Return SQL for a text that is no UTF-8, as a careless program leaves it."""
    return f"CAST(x'{text.hex()}' AS TEXT)"
