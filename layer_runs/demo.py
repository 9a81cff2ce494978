"""Invented runs of a Zos-like pipeline: believable at a glance, with one of every trouble the monitor is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from django.db.models import Q, Value
from django.db.models.functions import Left
from django.db.models.lookups import Exact

from .models import LayerRun, LlmCall, Status

SOURCE = "demo"
# What is ours to replace: a run that only says so of itself may be somebody's own.
IS_DEMO = Q(source=SOURCE) & Q(Exact(Left("id", len(SOURCE) + 1), Value(f"{SOURCE}:")))
LEAST_DAYS = 14

# US dollars for a million tokens, in and out. A model that is not here has no price.
PRICES = {
    "claude-opus-4-6": (Decimal(15), Decimal(75)),
    "claude-sonnet-4-6": (Decimal(3), Decimal(15)),
    "claude-haiku-4-5": (Decimal("0.25"), Decimal("1.25")),
}
MODELS = {
    "complex": ("anthropic", "claude-opus-4-6"),
    "reflection": ("anthropic", "claude-sonnet-4-6"),
    "moderate": ("anthropic", "claude-sonnet-4-6"),
    "simple": ("anthropic", "claude-haiku-4-5"),
    "local": ("ollama", "gemma3:27b"),
}
RATE_LIMIT = (
    "Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'This request would"
    " exceed your organization\u2019s rate limit of 40,000 input tokens per minute'}}"
)
OVERLOADED = "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"
TOO_LONG = (
    "Error code: 400 - {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'prompt is too"
    " long: 213451 tokens > 200000 maximum'}}"
)
NOT_JSON = "LLM response is not valid JSON: Expecting ',' delimiter: line 14 column 3 (char 811)"
CUT_OFF = "peer closed connection without sending complete message body (incomplete chunked read)"
PASSING_TROUBLE = (RATE_LIMIT, RATE_LIMIT, OVERLOADED, CUT_OFF, "Request timed out.")
OUTAGE_TROUBLE = ("Connection error.", "Connection error.", "Connection error.", "Request timed out.")


@dataclass(frozen=True)
class Layer:
    """A pipeline: when it runs (hours of a day, in UTC), on what, and with which model."""

    name: str
    version: str
    hours: tuple[float, ...]
    topics: tuple[str, ...]
    profile: str = "reflection"
    call_type: str = "reflection"
    node: str = "reflect"
    most_targets: int = 10
    weekday: int | None = None


def _topics(kind: str, first: int, count: int) -> tuple[str, ...]:
    return tuple(f"server:{100 + n % 3}:{kind}:{first + n}" for n in range(count))


CHANNELS = _topics("channel", 5000, 15)
USERS = _topics("user", 1000, 40)
DYADS = tuple(f"server:{100 + n % 3}:dyad:{1000 + n}:{1003 + n}" for n in range(30))
SUBJECTS = tuple(f"server:{100 + n % 3}:subject:s{n}" for n in range(15))
EMOJI = tuple(f"server:100:emoji:e{n}" for n in range(10))
SELF = ("self:zos",)

BAD_LAYER = "nightly-user-reflection"
OUTAGE_NIGHTS_AGO = 4
# A subject whose history no longer fits the model: it fails whenever it is matched.
FAILING_TOPIC = SUBJECTS[8]
UNPRICED_LAYER = "nightly-emoji-patterns"
SPEAKS = {"profile": "moderate", "call_type": "conversation", "node": "generate"}

LAYERS = (
    Layer("subject-share", "d94398ca12adcf09", (3.0, 14.0), CHANNELS, **SPEAKS),
    Layer("channel-speak", "e57ed82bc39676fa", (3.12, 8.5, 11.25, 16.75, 20.1), CHANNELS, **SPEAKS),
    Layer("dm-response", "d53696666ff7cb62", (9.4, 13.2, 18.6), CHANNELS, most_targets=8, **SPEAKS),
    Layer("nightly-emoji-patterns", "fbd0560d7c1d01d7", (3.35,), EMOJI),
    Layer("weekly-self-reflection", "2bdf20b77ec3814d", (3.47,), SELF, "complex", weekday=6),
    Layer("nightly-dyad-reflection", "b5f696b60d3ef17a", (3.58,), DYADS),
    Layer("nightly-user-reflection", "8c9e926d895074f4", (3.7,), USERS, most_targets=12),
    Layer("nightly-channel-reflection", "c5150a03a2b8e972", (3.82,), CHANNELS),
    Layer("nightly-subject-reflection", "a87efb9bb32feaec", (3.93,), SUBJECTS),
    Layer("weekly-meta-reflection", "4c5b5f57d090276e", (4.05,), SELF, "complex", node="synthesise", weekday=6),
)
RUNNING_LAYER, CRASHED_LAYER = LAYERS[1], LAYERS[7]
BAD_HASH, MENDED_HASH = "5ab1c0de93f7e2d4", "1cb61a87eefc799c"


@dataclass
class DemoRun:
    """A run in the making, and the calls it has made so far."""

    row: LayerRun
    clock: datetime
    calls: list[LlmCall] = field(default_factory=list)

    def call(self, topic: str, profile: str, call_type: str, rng: Random, error: str = "") -> None:
        """Make one call to a model; a failed one costs time and nothing else."""
        provider, model = MODELS[profile]
        tokens_in = 0 if error else rng.randint(2_600, 12_600)
        tokens_out = 0 if error else rng.randint(120, 880)
        latency = timedelta(milliseconds=rng.randint(900, 30_000) if error else 2_000 + tokens_out * rng.randint(9, 18))
        self.calls.append(
            LlmCall(
                id=f"{self.row.id}-{len(self.calls):03}",
                run=self.row,
                topic=topic,
                call_type=call_type,
                model_profile=profile,
                model_provider=provider,
                model_name=model,
                tokens_input=tokens_in,
                tokens_output=tokens_out,
                tokens_total=tokens_in + tokens_out,
                estimated_cost_usd=price(model, tokens_in, tokens_out),
                latency_ms=latency // timedelta(milliseconds=1),
                success=not error,
                error_message=error,
                created_at=self.clock,
            )
        )
        self.clock += latency

    def add_up(self) -> None:
        """Make the run's figures the exact sum over its calls."""
        if self.calls:
            first = self.calls[0]
            self.row.model_provider, self.row.model_name = first.model_provider, first.model_name
            self.row.model_profile = first.model_profile
        costs = [call.estimated_cost_usd for call in self.calls if call.estimated_cost_usd is not None]
        self.row.estimated_cost_usd = sum(costs, Decimal(0)) if costs or not self.calls else None
        for name in ("tokens_input", "tokens_output", "tokens_total"):
            setattr(self.row, name, sum(getattr(call, name) for call in self.calls))
        self.row.unpriced_tokens = sum(call.tokens_total for call in self.calls if call.estimated_cost_usd is None)


def price(model: str, tokens_in: int, tokens_out: int) -> Decimal | None:
    """Return US dollars for these tokens, or None for a model without a price."""
    if model not in PRICES:
        return None
    dear_in, dear_out = PRICES[model]
    return (tokens_in * dear_in + tokens_out * dear_out) / 1_000_000


def invent(now: datetime, days: int, seed: int = 7) -> Iterator[DemoRun]:
    """Yield the runs of the last `days` days, oldest first, then the one that crashed and the one under way."""
    rng = Random(seed)  # noqa: S311
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for age in range(days, -1, -1):
        night = midnight - timedelta(days=age)
        for layer in LAYERS:
            if layer.weekday is not None and night.weekday() != layer.weekday:
                continue
            for hour in layer.hours:
                started_at = night + timedelta(hours=hour, seconds=rng.randint(0, 50))
                run = _finished(layer, started_at, age, days, rng)
                # Nothing that would still be going on, and nothing of before the first day.
                if now - timedelta(days=days) <= started_at and run.row.completed_at < now:
                    yield run
    # After the last regular run of two nights ago, when nothing else is going on.
    yield _unfinished(CRASHED_LAYER, midnight - timedelta(days=2) + timedelta(hours=4.15), Status.CRASHED, now, rng)
    yield _unfinished(RUNNING_LAYER, now - timedelta(minutes=6), Status.RUNNING, now, rng)


def _finished(layer: Layer, started_at: datetime, age: int, days: int, rng: Random) -> DemoRun:
    bad = layer.name == BAD_LAYER and 0.2 * days <= age <= 0.35 * days
    mended = layer.name == BAD_LAYER and age < 0.2 * days
    run = _start(layer, started_at, BAD_HASH if bad else MENDED_HASH if mended else layer.version, Status.SUCCESS)
    dry_run = rng.random() < (0.1 if layer.node == "generate" else 0.05)
    topics = rng.sample(layer.topics, rng.randint(1, min(layer.most_targets, len(layer.topics))))
    if dry_run and rng.random() < 0.6:
        topics = []
    outage = age == OUTAGE_NIGHTS_AGO and started_at.hour < 6
    odds = 0.75 if bad else 0.012
    run.row.targets_matched = len(topics)
    for topic in [] if dry_run and not outage else topics:
        error = ""
        if outage:
            error = rng.choice(OUTAGE_TROUBLE)
        elif topic == FAILING_TOPIC:
            error = TOO_LONG
        elif rng.random() < odds:
            error = NOT_JSON if bad else rng.choice(PASSING_TROUBLE)
        _do_target(run, layer, topic, error, age < days // 3, rng)
    run.row.completed_at = run.clock + timedelta(milliseconds=rng.randint(4, 900))
    run.row.status = Status.of(
        processed=run.row.targets_processed, failed=run.row.targets_skipped, insights=run.row.insights_created
    )
    run.add_up()
    return run


def _do_target(run: DemoRun, layer: Layer, topic: str, error: str, lately: bool, rng: Random) -> None:
    profile = "local" if layer.name == UNPRICED_LAYER and lately else layer.profile
    # An answer that is no JSON was paid for; one that never came was not.
    run.call(topic, profile, layer.call_type, rng, error="" if error == NOT_JSON else error)
    if error:
        run.row.targets_skipped += 1
        run.row.errors.append({"topic": topic, "error": error, "node": layer.node})
        return
    if layer.node == "generate" or profile == "local":
        run.call(topic, "simple", "filter", rng)
    run.row.targets_processed += 1
    run.row.insights_created += 1


def _unfinished(layer: Layer, started_at: datetime, status: Status, now: datetime, rng: Random) -> DemoRun:
    run = _start(layer, started_at, layer.version, status)
    run.row.targets_matched = 9
    for topic in layer.topics[:4]:
        _do_target(run, layer, topic, "", False, rng)
    run.row.heartbeat_at = now - timedelta(seconds=40) if status == Status.RUNNING else run.clock
    run.add_up()
    return run


def _start(layer: Layer, started_at: datetime, version: str, status: Status) -> DemoRun:
    row = LayerRun(
        id=f"{SOURCE}:{started_at:%Y%m%dT%H%M%S}-{layer.name}",
        source=SOURCE,
        layer_name=layer.name,
        layer_hash=version,
        started_at=started_at,
        status=status,
        model_profile=layer.profile,
    )
    return DemoRun(row, clock=started_at + timedelta(milliseconds=300))
