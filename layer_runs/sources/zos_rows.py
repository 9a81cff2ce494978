"""What a row of a Zos database means in our columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..conf import get_config
from ..constraints import MAX_COUNT, MAX_TOKENS
from ..fields import MAX_USD
from ..models import RESERVED_IDS, Status
from .values import ValueReader, excerpt, time_of_ulid

# What is read of the source, in this order. Prompts and responses are not.
RUN_COLUMNS = (
    *("id", "layer_name", "layer_hash", "started_at", "completed_at", "status"),
    *("targets_matched", "targets_processed", "targets_skipped", "insights_created"),
    *("model_profile", "model_provider", "model_name"),
    *("tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd", "errors"),
)
CALL_COLUMNS = (
    *("id", "topic_key", "call_type", "model_profile", "model_provider", "model_name"),
    *("tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd"),
    *("latency_ms", "success", "error_message", "created_at"),
)
# The fields of LlmCall that a call is made of, in the order of its tuple.
CALL_FIELDS = ("id", "topic", *CALL_COLUMNS[2:])
TOKENS = ("tokens_input", "tokens_output", "tokens_total")

REPORTED_TOLERANCE_USD = Decimal("0.000001")
# Zos commits a run as `dry` when it starts and says what became of it at the end.
UNFINISHED = ("dry", "running")

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NO_IDS = {*RESERVED_IDS, ".", ".."}

Call = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ZosRun:
    """A run in our columns, with its calls in the order of `CALL_FIELDS`.

    `odd`: not all could be kept as it came. Secrets that were replaced are counted in `secrets`, and are not odd.
    """

    values: dict[str, Any]
    calls: list[Call]

    @property
    def id(self) -> str:
        return self.values["id"]

    @property
    def odd(self) -> bool:
        return bool(self.odd_notes)

    @property
    def odd_notes(self) -> dict[str, Any]:
        return {kind: what for kind, what in self.values["notes"].items() if kind != "redacted"}

    @property
    def secrets(self) -> int:
        return sum(self.values["notes"].get("redacted", {}).values())


@dataclass(frozen=True, slots=True)
class RejectedRun:
    """A row that cannot be a run, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class ZosReader:
    """Turns rows into runs. `now` decides which unfinished run is taken for crashed."""

    source: str
    now: datetime

    def read(self, row: Sequence[Any], call_rows: Iterable[Sequence[Any]]) -> ZosRun | RejectedRun:
        """Return the run of a row of `RUN_COLUMNS` and its rows of `CALL_COLUMNS`."""
        raw = dict(zip(RUN_COLUMNS, row, strict=True))
        reader = ValueReader()
        started_at = self._started_at(raw, reader)
        if started_at is None:
            name = "(no id)" if raw["id"] is None else excerpt(raw["id"])
            return RejectedRun(name, f"its start is unreadable: {excerpt(raw['started_at'])}")
        # Zos gives every run an id; without one, what it is and when it began has to tell it from others.
        given = raw["id"] if raw["id"] is not None else (raw["layer_name"], raw["layer_hash"], raw["started_at"])
        key = self._key(given)
        if key is None or key in _NO_IDS:
            key = self._made_key(given)
            reader.notes["original_id"] = None if raw["id"] is None else reader.excerpt(raw["id"])

        calls = [self._call(call, key, started_at, reader) for call in call_rows]
        if len(once := {call[0]: call for call in calls}) < len(calls):
            reader.altered("calls", f"{len(calls) - len(once)} with the id of another left out")
            calls = list(once.values())
        values = {
            "id": key,
            "source": self.source,
            "layer_name": reader.text("layer_name", raw["layer_name"], 200),
            "layer_hash": reader.text("layer_hash", raw["layer_hash"], 64),
            "started_at": started_at,
            "completed_at": reader.moment("completed_at", raw["completed_at"]),
            "heartbeat_at": None,
            "status": reader.text("status", raw["status"], 32) or "unknown",
            "model_profile": reader.text("model_profile", raw["model_profile"], 100),
            "model_provider": reader.text("model_provider", raw["model_provider"], 100),
            "model_name": reader.text("model_name", raw["model_name"], 200),
            "errors": reader.errors("errors", raw["errors"]),
        }
        for field in ("targets_matched", "targets_processed", "targets_skipped", "insights_created"):
            values[field] = reader.whole(field, raw[field], MAX_COUNT) or 0
        if raw["completed_at"] is None and values["status"] in UNFINISHED:
            values |= self._unfinished(started_at, calls)
        values |= _figures(raw, calls, reader)
        values["notes"] = reader.notes
        return ZosRun(values, calls)

    def _started_at(self, raw: dict[str, Any], reader: ValueReader) -> datetime | None:
        started_at = reader.moment("started_at", raw["started_at"])
        if started_at is None and isinstance(raw["id"], str):
            started_at = time_of_ulid(raw["id"])
            reader.altered("started_at", "taken from the id")
        return started_at

    def _unfinished(self, started_at: datetime, calls: list[Call]) -> dict[str, Any]:
        heartbeat_at = max([started_at, *(call[-1] for call in calls)])
        crashed = self.now - heartbeat_at > get_config()["CRASHED_AFTER"]
        return {"status": str(Status.CRASHED if crashed else Status.RUNNING), "heartbeat_at": heartbeat_at}

    def _call(self, row: Sequence[Any], run_key: str, started_at: datetime, reader: ValueReader) -> Call:
        (id_, topic, call_type, profile, provider, name, given, made, total, cost, latency, success, error, at) = row
        key = self._key(id_)
        reader.subject = f"call {key}: "
        if key is None:
            # Told from the run's other calls by what it holds: the same row gives the same key again.
            key = self._made_key(id_ if id_ is not None else (run_key, *row))
            reader.subject = f"call {key}: "
            reader.altered("id", f"was {reader.excerpt(id_)}")
        created_at = reader.moment("created_at", at)
        if created_at is None:
            created_at = time_of_ulid(str(id_)) or started_at
            reader.altered("created_at", "taken from an id or the run's start")
        tokens_input = reader.whole("tokens_input", given, MAX_TOKENS) or 0
        tokens_output = reader.whole("tokens_output", made, MAX_TOKENS) or 0
        tokens_total = reader.whole("tokens_total", total, MAX_TOKENS)
        if tokens_total is None:
            tokens_total = min(tokens_input + tokens_output, MAX_TOKENS)
        call = (
            key,
            reader.text("topic", topic, 300),
            reader.text("call_type", call_type, 50),
            reader.text("model_profile", profile, 100),
            reader.text("model_provider", provider, 100),
            reader.text("model_name", name, 200),
            tokens_input,
            tokens_output,
            tokens_total,
            reader.usd("estimated_cost_usd", cost),
            reader.whole("latency_ms", latency, MAX_TOKENS),
            bool(reader.whole("success", success, 1)),
            reader.error_text("error_message", error, 2000),
            created_at,
        )
        reader.subject = ""
        return call

    def _key(self, given: Any) -> str | None:
        """Return the id under which a row is stored, or None where its own cannot be one."""
        key = f"{self.source}:{given}" if self.source else f"{given}"
        return key if isinstance(given, (str, int)) and _ID.fullmatch(key) else None

    def _made_key(self, given: Any) -> str:
        """Return a key made from what a row holds, so that the next import finds the row again."""
        digest = hashlib.sha256(repr(given).encode("utf-8", "backslashreplace")).hexdigest()[:24]
        return f"{self.source}:zos-{digest}" if self.source else f"zos-{digest}"


def _figures(raw: dict[str, Any], calls: list[Call], reader: ValueReader) -> dict[str, Any]:
    """Return tokens and cost: what the calls add up to, or what the run says where it made none."""
    own: dict[str, Any] = {field: reader.whole(field, raw[field], MAX_TOKENS) for field in TOKENS}
    if own["tokens_total"] is None and (own["tokens_input"] is not None or own["tokens_output"] is not None):
        own["tokens_total"] = (own["tokens_input"] or 0) + (own["tokens_output"] or 0)
    own["estimated_cost_usd"] = reader.usd("estimated_cost_usd", raw["estimated_cost_usd"])
    own["unpriced_tokens"] = 0 if own["estimated_cost_usd"] is not None else own["tokens_total"] or 0
    own = _bounded(own, reader)
    reported = {"reported_cost_usd": None, "reported_tokens_total": None}
    if not calls:
        return own | reported

    sums: dict[str, Any] = {field: sum(call[n] for call in calls) for n, field in enumerate(TOKENS, start=6)}
    prices = [call[9] for call in calls if call[9] is not None]
    sums["unpriced_tokens"] = sum(call[8] for call in calls if call[9] is None)
    sums["estimated_cost_usd"] = sum(prices, Decimal(0)) if prices or not sums["unpriced_tokens"] else None
    sums = _bounded(sums, reader)
    if _differ(own["estimated_cost_usd"], sums["estimated_cost_usd"], REPORTED_TOLERANCE_USD):
        reported["reported_cost_usd"] = own["estimated_cost_usd"]
    if _differ(own["tokens_total"], sums["tokens_total"], 0):
        reported["reported_tokens_total"] = own["tokens_total"]
    return sums | reported


def _differ(claimed: Any, added_up: Any, tolerance: Any) -> bool:
    return claimed is not None and (added_up is None or abs(claimed - added_up) > tolerance)


def _bounded(figures: dict[str, Any], reader: ValueReader) -> dict[str, Any]:
    """Return figures the database can hold. The three of tokens go together: two parts imply a total."""
    if any((figures[field] or 0) > MAX_TOKENS for field in TOKENS):
        for field in TOKENS:
            reader.nulled(field, figures[field])
        figures |= dict.fromkeys(TOKENS)
    if figures["unpriced_tokens"] > MAX_TOKENS:
        reader.altered("unpriced_tokens", f"was {figures['unpriced_tokens']}")
        figures["unpriced_tokens"] = MAX_TOKENS
    if figures["estimated_cost_usd"] is not None and figures["estimated_cost_usd"] >= MAX_USD:
        reader.nulled("estimated_cost_usd", figures["estimated_cost_usd"])
        figures["estimated_cost_usd"] = None
    return figures
