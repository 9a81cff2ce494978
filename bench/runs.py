"""A million believable runs: the same calendar day always holds the same runs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

from layer_runs.errors import RunError

SEED = 42
A_DAY = 2_000
WHAT = ("user", "topic", "channel", "server")
LAYERS = [f"{when}-{what}-reflection" for when in ("hourly", "nightly", "weekly") for what in WHAT]
MODELS = [
    # name, provider, nano-dollars a token in and out
    ("claude-sonnet-4-6", "anthropic", 3_000, 15_000),
    ("claude-haiku-4-5", "anthropic", 1_000, 5_000),
    ("gpt-5-mini", "openai", 250, 2_000),
    ("gemini-3-flash", "google", 300, 2_500),
    ("llama-4-70b", "local", None, None),
]
STATUSES, SHARES = ("success", "partial", "failed", "dry"), (80, 8, 5, 7)
ERRORS = [
    ("reflect", "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"),
    ("reflect", "Error code: 429 - {'error': {'message': 'Rate limit reached for requests per minute.'}}"),
    ("extract", "Request timed out."),
    ("extract", "Connection error."),
    ("store", "Insight has no valence: at least one of joy, concern, curiosity must be set"),
    ("parse", "Expecting value: line 1 column 1 (char 0)"),
]
RUN_COLUMNS = (
    *("id", "source", "layer_name", "layer_hash", "started_at", "completed_at", "status"),
    *("targets_matched", "targets_processed", "targets_skipped", "insights_created"),
    *("model_profile", "model_provider", "model_name", "tokens_input", "tokens_output", "tokens_total"),
    *("estimated_cost_usd", "unpriced_tokens", "errors", "notes"),
)
LINE_COLUMNS = ("run_id", "position", "topic", "node", "message", "fingerprint", "started_at")
Row = tuple[Any, ...]
Run = tuple[Row, list[Row]]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def runs_of(day: date) -> Iterator[Run]:
    """Yield the runs of a calendar day from its first to its last, each with its error lines."""
    rng = random.Random(f"{SEED} {day}")
    midnight = datetime.combine(day, time.min, UTC)
    for microseconds in sorted(rng.randrange(86_400_000_000) for _ in range(A_DAY)):
        yield _run(rng, midnight + timedelta(microseconds=microseconds))


def runs_before(end: datetime, number: int) -> Iterator[Run]:
    """Yield the last `number` runs before `end`, the earliest first."""
    today = [run for run in runs_of(end.date()) if run[0][4] < end]
    days, rest = divmod(max(number - len(today), 0), A_DAY)
    yield from list(runs_of(end.date() - timedelta(days=days + 1)))[A_DAY - rest :]
    for ago in range(days, 0, -1):
        yield from runs_of(end.date() - timedelta(days=ago))
    yield from today[-number:]


def runs_between(start: datetime, end: datetime) -> Iterator[Run]:
    """Yield the runs after `start` and before `end`."""
    for ahead in range((end.date() - start.date()).days + 1):
        yield from (run for run in runs_of(start.date() + timedelta(days=ahead)) if start < run[0][4] < end)


def _run(rng: random.Random, started: datetime) -> Run:
    key = ulid(rng, started)
    status = rng.choices(STATUSES, SHARES)[0]
    layer = rng.randrange(len(LAYERS))
    model, provider, price_in, price_out = MODELS[rng.randrange(len(MODELS))]
    matched = rng.randint(1, 20)
    errors = []
    if status in ("partial", "failed"):
        for _ in range(rng.randint(1, 5)):
            node, message = rng.choice(ERRORS)
            errors.append({"topic": f"server:1:user:{rng.randrange(500)}", "error": message, "node": node})
    failed = matched if status == "failed" else min(len(errors), matched)
    processed = 0 if status == "failed" else matched - failed
    tokens_in, tokens_out = rng.randrange(matched * 8_000), rng.randrange(matched * 600)
    cost = None if price_in is None else tokens_in * price_in + tokens_out * price_out
    row = (
        *(key, "", LAYERS[layer], f"{layer:02x}{started.month:02x}a87efb9b10c2", started),
        started + timedelta(milliseconds=int(rng.lognormvariate(10, 1))),
        *(status, matched, processed, failed, 0 if status in ("failed", "dry") else rng.randint(1, 30)),
        *("reflection", provider, model, tokens_in, tokens_out, tokens_in + tokens_out),
        *(cost, tokens_in + tokens_out if cost is None else 0, json.dumps(errors), "{}"),
    )
    lines = [
        (key, n, error["topic"], error["node"], error["error"], _fingerprint(error["node"], error["error"]), started)
        for n, error in enumerate(errors)
    ]
    return row, lines


def ulid(rng: random.Random, moment: datetime) -> str:
    number = (int(moment.timestamp() * 1000) << 80) | rng.getrandbits(80)
    return "".join([_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5)])


@cache
def _fingerprint(node: str, message: str) -> str:
    return RunError(0, message, node=node).fingerprint
