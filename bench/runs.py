"""A million believable runs with their calls: the same calendar day always holds the same runs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

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
# A cheap model looks first at every target; its bills are the same whatever the run's own model is.
FILTER = ("claude-haiku-4-5", "anthropic", 1_000, 5_000)
STATUSES = ("success", "partial", "failed", "dry")
SHARES = tuple(accumulate((80, 8, 5, 7)))
SHARES_OF_A_BAD_VERSION = tuple(accumulate((60, 20, 13, 7)))
# A layer gets a new version so often, and one version in so many is bad.
VERSION_DAYS, BAD_EVERY = 17, 8
WITHOUT_CALLS, DRY_WITHOUT_CALLS, FILTERED_OUT, POISONED = 0.0, 0.5, 0.15, 0.3
TOPICS = [f"server:1:user:{n}" for n in range(500)]
ERRORS = [
    ("reflect", "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"),
    ("reflect", "Error code: 429 - {'error': {'message': 'Rate limit reached for requests per minute.'}}"),
    ("extract", "Request timed out."),
    ("extract", "Connection error."),
    ("store", "Insight has no valence: at least one of joy, concern, curiosity must be set"),
    ("parse", "Expecting value: line 1 column 1 (char 0)"),
    # And a long tail.
    *(("parse", f"KeyError: 'field_{word}'") for word in "abcdefghijklmnopqrstuvwx"),
]
ERROR_SHARES = tuple(accumulate([40] * 6 + [1] * 24))
RUN_COLUMNS = (
    *("id", "source", "layer_name", "layer_hash", "started_at", "completed_at", "status"),
    *("targets_matched", "targets_processed", "targets_skipped", "insights_created"),
    *("model_profile", "model_provider", "model_name", "tokens_input", "tokens_output", "tokens_total"),
    *("estimated_cost_usd", "unpriced_tokens", "errors", "notes"),
)
LINE_COLUMNS = ("run_id", "position", "topic", "node", "message", "fingerprint", "started_at")
CALL_COLUMNS = (
    *("id", "run_id", "topic", "call_type", "model_profile", "model_provider", "model_name"),
    *("tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd"),
    *("latency_ms", "success", "error_message", "created_at"),
)
Row = tuple[Any, ...]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Run(NamedTuple):
    """A row of `RUN_COLUMNS`, and its rows of `LINE_COLUMNS` and `CALL_COLUMNS`. No text holds a tab or a backslash."""

    row: Row
    lines: list[Row]
    calls: list[Row]

    @property
    def started_at(self) -> datetime:
        return self.row[4]


def runs_of(day: date) -> Iterator[Run]:
    """Yield the runs of a calendar day from its first to its last."""
    rng = random.Random(f"{SEED} {day}")
    midnight = datetime.combine(day, time.min, UTC)
    for microseconds in sorted(rng.randrange(86_400_000_000) for _ in range(A_DAY)):
        yield _run(rng, midnight + timedelta(microseconds=microseconds))


def runs_before(end: datetime, number: int) -> Iterator[Run]:
    """Yield the last `number` runs before `end`, the earliest first."""
    today = [run for run in runs_of(end.date()) if run.started_at < end]
    days, rest = divmod(max(number - len(today), 0), A_DAY)
    yield from list(runs_of(end.date() - timedelta(days=days + 1)))[A_DAY - rest :]
    for ago in range(days, 0, -1):
        yield from runs_of(end.date() - timedelta(days=ago))
    yield from today[-number:]


def runs_between(start: datetime, end: datetime) -> Iterator[Run]:
    """Yield the runs after `start` and before `end`."""
    for ahead in range((end.date() - start.date()).days + 1):
        yield from (run for run in runs_of(start.date() + timedelta(days=ahead)) if start < run.started_at < end)


def _run(rng: random.Random, started: datetime) -> Run:
    key = ulid(rng, started)
    layer = rng.randrange(len(LAYERS))
    version = (started.toordinal() + 5 * layer) // VERSION_DAYS
    shares = SHARES_OF_A_BAD_VERSION if (version + layer) % BAD_EVERY == 0 else SHARES
    status = rng.choices(STATUSES, cum_weights=shares)[0]
    model = MODELS[rng.randrange(len(MODELS))]
    matched = rng.randint(2 if status == "partial" else 1, 8)
    failed = {"failed": matched, "partial": rng.randrange(1, max(matched, 2))}.get(status, 0)
    # Those that fail come first: some of them fail their layer again and again.
    first = layer if failed and rng.random() < POISONED else rng.randrange(len(TOPICS))
    topics = [TOPICS[(first + n * 37) % len(TOPICS)] for n in range(matched)]
    errors = [_error(rng, topic) for topic in topics[:failed]]
    called = topics if rng.random() > (DRY_WITHOUT_CALLS if status == "dry" else WITHOUT_CALLS) else []
    calls = list(_calls(rng, key, started, model, called, errors))
    if calls or status == "dry":
        tokens_in, tokens_out = sum(call[7] for call in calls), sum(call[8] for call in calls)
        prices = [call[10] for call in calls if call[10] is not None]
        cost = sum(prices) if prices else None
        unpriced = sum(call[9] for call in calls if call[10] is None)
    else:
        # Of a time before calls were kept: it has figures of its own.
        tokens_in, tokens_out = rng.randrange(matched * 8_000), rng.randrange(matched * 600)
        cost = _cost(model, tokens_in, tokens_out)
        unpriced = tokens_in + tokens_out if cost is None else 0
    row = (
        *(key, "", LAYERS[layer], f"{version:06x}{layer:02x}a87e", started),
        started + timedelta(milliseconds=int(rng.lognormvariate(10, 1))),
        *(status, matched, matched - failed, failed, 0 if status in ("failed", "dry") else rng.randint(1, 30)),
        *("reflection", model[1], model[0], tokens_in, tokens_out, tokens_in + tokens_out),
        *(cost, unpriced, json.dumps(errors), "{}"),
    )
    lines = [
        (key, n, error["topic"], error["node"], error["error"], _fingerprint(error["node"], error["error"]), started)
        for n, error in enumerate(errors)
    ]
    return Run(row, lines, calls)


def _error(rng: random.Random, topic: str) -> dict[str, str]:
    node, message = rng.choices(ERRORS, cum_weights=ERROR_SHARES)[0]
    return {"topic": topic, "error": message, "node": node}


def _calls(
    rng: random.Random, key: str, started: datetime, model: tuple, topics: list[str], errors: list[dict[str, str]]
) -> Iterator[Row]:
    """Yield two calls a target, one for what did not get past the filter; the last one of a failed target fails."""
    number, chance = 0, rng.random
    for place, topic in enumerate(topics):
        failed = errors[place]["error"] if place < len(errors) else ""
        passed = failed or chance() > FILTERED_OUT
        for purpose, (name, provider, price_in, price_out) in (("filter", FILTER), ("reflection", model))[
            : 1 + bool(passed)
        ]:
            tokens_in, tokens_out = int(chance() * 8_000), int(chance() * 600)
            cost = None if price_in is None else tokens_in * price_in + tokens_out * price_out
            error = failed if purpose == "reflection" else ""
            yield (
                *(f"{key}-{number:02}", key, topic, purpose, purpose, provider, name),
                *(tokens_in, tokens_out, tokens_in + tokens_out, cost, int(chance() * 20_000), not error, error),
                started + timedelta(seconds=7 * number),
            )
            number += 1


def _cost(model: tuple, tokens_in: int, tokens_out: int) -> int | None:
    _name, _provider, price_in, price_out = model
    return None if price_in is None else tokens_in * price_in + tokens_out * price_out


def ulid(rng: random.Random, moment: datetime) -> str:
    number = (int(moment.timestamp() * 1000) << 80) | rng.getrandbits(80)
    return "".join([_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5)])


@cache
def _fingerprint(node: str, message: str) -> str:
    return RunError(0, message, node=node).fingerprint
