from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from layer_runs.models import RESERVED_IDS
from layer_runs.sources import SourceError, zos
from layer_runs.sources.zos_rows import RejectedRun, ZosRun
from layer_runs.tests.zos_database import LAX_SCHEMA, SCHEMA, ZosTestDatabase, invalid_utf8

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
# The specification's own example, and the moment it was made in.
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
TIME_OF_ULID = datetime(2016, 7, 30, 23, 54, 10, 259_000, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> ZosTestDatabase:
    return ZosTestDatabase(tmp_path / "zos.db")


@pytest.fixture
def lax(tmp_path: Path) -> ZosTestDatabase:
    """A database that forbids nothing: no NOT NULL, no primary key."""
    return ZosTestDatabase(tmp_path / "lax.db", LAX_SCHEMA)


def read(database: ZosTestDatabase, source: str = "", now: datetime = NOW) -> list[ZosRun | RejectedRun]:
    with zos.ZosDatabase(str(database)) as opened:
        return [run for batch in opened.batches(source, now) for run in batch]


def read_one(database: ZosTestDatabase, **options: object) -> ZosRun:
    (run,) = read(database, **options)
    assert isinstance(run, ZosRun)
    return run


def values(database: ZosTestDatabase, **options: object) -> dict[str, object]:
    return read_one(database, **options).values


# What a run is made of


def test_it_reads_a_run_in_our_columns(database):
    database.run("r1")

    assert values(database) == {
        "id": "r1",
        "source": "",
        "layer_name": "nightly-user-reflection",
        "layer_hash": "a87efb9b10c24d5f",
        "started_at": datetime(2026, 11, 1, 10, 0, tzinfo=UTC),
        "completed_at": datetime(2026, 11, 1, 10, 1, 30, 250_000, tzinfo=UTC),
        "heartbeat_at": None,
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
        "estimated_cost_usd": Decimal("0.0045"),
        "unpriced_tokens": 0,
        "reported_cost_usd": None,
        "reported_tokens_total": None,
        "errors": [],
        "notes": {},
    }


def test_it_reads_a_call_without_its_prompt_and_response(database):
    database.call(database.run(), "c1", latency_ms=None, success=0, error_message="Overloaded")

    assert read_one(database).calls == [
        (
            *("c1", "server:1:user:0", "reflection", "reflection", "anthropic", "claude-sonnet-4-6"),
            *(500, 50, 550, Decimal("0.00225"), None, False, "Overloaded"),
            datetime(2026, 11, 1, 10, 0, 5, tzinfo=UTC),
        )
    ]


def test_it_reads_unknown_models_as_empty_text(database):
    database.run(model_profile=None, model_provider=None, model_name=None)

    run = values(database)

    assert (run["model_profile"], run["model_provider"], run["model_name"]) == ("", "", "")


@pytest.mark.parametrize("text", ["2026-11-01T10:00:00Z", "2026-11-01 11:00:00+01:00", "2026-11-01 10:00:00"])
def test_i15_it_reads_a_time_without_a_zone_as_utc_and_heeds_one_that_has_it(database, text):
    database.run(started_at=text)

    assert values(database)["started_at"] == datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


def test_d19_it_keeps_a_run_that_ends_before_it_starts(database):
    database.run(completed_at="2026-11-01 09:59:55")

    run = read_one(database)

    assert run.values["completed_at"] == datetime(2026, 11, 1, 9, 59, 55, tzinfo=UTC)
    assert not run.odd


@pytest.mark.parametrize("status", ["success", "partial", "failed", "dry", "paused"])
def test_it_keeps_the_status_of_a_finished_run(database, status):
    database.run(status=status)

    assert values(database)["status"] == status


def test_it_calls_a_run_without_a_status_unknown(lax):
    lax.run(status=None)

    assert values(lax)["status"] == "unknown"


# Runs that have not ended


@pytest.mark.parametrize("status", ["dry", "running"])
def test_i18_it_reads_an_unfinished_run_as_running(database, status):
    database.run(status=status, completed_at=None, started_at="2026-11-01 11:30:00")

    run = values(database)

    assert (run["status"], run["completed_at"]) == ("running", None)
    assert run["heartbeat_at"] == datetime(2026, 11, 1, 11, 30, tzinfo=UTC)


def test_i18_it_reads_an_unfinished_run_without_a_sign_of_life_as_crashed(database):
    database.run(status="dry", completed_at=None, started_at="2026-11-01 10:59:59")

    assert values(database)["status"] == "crashed"


def test_i18_it_takes_the_latest_call_for_a_sign_of_life(database):
    run_id = database.run(status="dry", completed_at=None, started_at="2026-11-01 08:00:00")
    database.call(run_id, created_at="2026-11-01 11:15:00")
    database.call(run_id, created_at="2026-11-01 08:15:00")

    run = values(database)

    assert (run["status"], run["heartbeat_at"]) == ("running", datetime(2026, 11, 1, 11, 15, tzinfo=UTC))


def test_i18_it_waits_as_long_as_the_setting_says(database, settings):
    database.run(status="dry", completed_at=None, started_at="2026-11-01 11:50:00")
    settings.LAYER_RUNS = {"CRASHED_AFTER": timedelta(minutes=5)}

    assert values(database)["status"] == "crashed"


def test_it_leaves_a_dry_run_with_an_unreadable_end_dry(database):
    database.run(status="dry", completed_at="not a date")

    run = values(database)

    assert (run["status"], run["completed_at"], run["heartbeat_at"]) == ("dry", None, None)


# Tokens and cost


def test_it_adds_up_the_calls_where_there_are_calls(database):
    run_id = database.run(tokens_input=1, tokens_output=1, tokens_total=2, estimated_cost_usd=9.0)
    for _ in range(10):
        database.call(run_id, estimated_cost_usd=0.1)

    run = values(database)

    assert (run["tokens_input"], run["tokens_output"], run["tokens_total"]) == (5_000, 500, 5_500)
    assert run["estimated_cost_usd"] == Decimal(1)


def test_i29_it_keeps_what_the_run_itself_claimed_where_it_differs(database):
    run_id = database.run(tokens_total=900, estimated_cost_usd=0.5)
    database.call(run_id)

    run = values(database)

    assert (run["reported_cost_usd"], run["reported_tokens_total"]) == (Decimal("0.5"), 900)


@pytest.mark.parametrize(("claimed", "reported"), [(0.002251, None), (0.0022511, Decimal("0.0022511")), (None, None)])
def test_i29_a_difference_of_a_millionth_of_a_dollar_is_none(database, claimed, reported):
    run_id = database.run(tokens_total=550, estimated_cost_usd=claimed)
    database.call(run_id)

    run = values(database)

    assert (run["reported_cost_usd"], run["reported_tokens_total"]) == (reported, None)


def test_i29_it_keeps_a_claimed_cost_where_no_call_has_a_price(database):
    run_id = database.run(estimated_cost_usd=0.5)
    database.call(run_id, estimated_cost_usd=None)

    run = values(database)

    assert (run["estimated_cost_usd"], run["reported_cost_usd"]) == (None, Decimal("0.5"))


def test_it_counts_the_tokens_of_calls_without_a_price(database):
    run_id = database.run()
    database.call(run_id, estimated_cost_usd=None, tokens_total=70)
    database.call(run_id, estimated_cost_usd=0.25)

    run = values(database)

    assert (run["unpriced_tokens"], run["estimated_cost_usd"]) == (70, Decimal("0.25"))


def test_a_run_whose_calls_used_no_tokens_cost_nothing(database):
    run_id = database.run(estimated_cost_usd=None)
    database.call(run_id, estimated_cost_usd=None, tokens_input=0, tokens_output=0, tokens_total=0)

    run = values(database)

    assert (run["unpriced_tokens"], run["estimated_cost_usd"]) == (0, Decimal(0))


def test_a_run_without_calls_or_a_cost_is_unpriced(database):
    database.run(estimated_cost_usd=None)

    run = values(database)

    assert (run["unpriced_tokens"], run["estimated_cost_usd"]) == (1_100, None)


def test_it_adds_two_parts_up_to_a_missing_total(database):
    database.run("r1", tokens_total=None)
    database.run("r2", tokens_input=None, tokens_output=None, tokens_total=None)

    assert [run.values["tokens_total"] for run in read(database)] == [1_100, None]


def test_d18_money_is_exact_to_the_nano_dollar(database):
    run_id = database.run()
    for _ in range(1_000):
        database.call(run_id, estimated_cost_usd=0.000001)

    assert values(database)["estimated_cost_usd"] == Decimal("0.001")


# Errors


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("null", []),
        (None, []),
        (" null ", []),
        ("[]", []),
        ('[{"topic": "t", "error": "e", "node": null}]', [{"topic": "t", "error": "e", "node": None}]),
        ('{"error":"x"}', {"error": "x"}),
        ('"boom"', "boom"),
        ("[null, {}]", [None, {}]),
        ("7", 7),
        (b'["a blob"]', ["a blob"]),
    ],
)
def test_d08_it_keeps_errors_of_any_shape(database, text, errors):
    database.run(errors=text)

    run = read_one(database)

    assert run.values["errors"] == errors
    assert not run.odd


@pytest.mark.parametrize("text", ["{bad json", "", "[" * 100_000, b"\xff\xfe\xfa"])
def test_i24_it_nulls_errors_that_are_no_json_and_says_how_they_began(database, text):
    database.run(errors=text)

    run = values(database)

    assert run["errors"] == []
    assert run["notes"]["nulled"]["errors"] == (
        text[:99] + "…" if len(text) > 100 else text if isinstance(text, str) else r"3 bytes: b'\xff\xfe\xfa'"
    )


def test_it_cuts_errors_that_are_nested_too_deeply(database):
    database.run(errors="[" * 500 + "]" * 500)

    run = values(database)

    assert str(run["errors"]).count("[") == 20
    assert run["notes"] == {"altered": {"errors": "replaced what JSON cannot hold"}}


@pytest.mark.parametrize(
    ("text", "errors"),
    [(r'["\udcff"]', ["\ufffd"]), (r'["a\u0000b"]', ["a\ufffdb"]), ("[NaN]", ["nan"]), ("9e999", "inf")],
)
def test_d09_d10_it_replaces_what_no_database_can_hold_in_errors(database, text, errors):
    database.run(errors=text)

    run = values(database)

    assert run["errors"] == errors
    assert run["notes"] == {"altered": {"errors": "replaced what JSON cannot hold"}}


# Values that cannot be kept as they are


@pytest.mark.parametrize(
    ("field", "value", "stored", "note"),
    [
        ("tokens_input", "lots", None, "lots"),
        ("tokens_output", -1, None, "-1"),
        ("tokens_total", 10**12 + 1, 1_100, "1000000000001"),
        ("tokens_input", 1.5, None, "1.5"),
        ("estimated_cost_usd", 9e999, None, "inf"),
        ("estimated_cost_usd", -5, None, "-5.0"),
        ("estimated_cost_usd", 1_000_000, None, "1000000.0"),
        ("estimated_cost_usd", "free", None, "free"),
        ("estimated_cost_usd", b"1", None, "1 bytes: b'1'"),
        ("targets_matched", -1, 0, "-1"),
        ("insights_created", 2**31, 0, "2147483648"),
        ("completed_at", "not a date", None, "not a date"),
        ("completed_at", "1999-12-31 23:59:59", None, "1999-12-31 23:59:59"),
        ("completed_at", "2200-01-01 00:00:00", None, "2200-01-01 00:00:00"),
        ("completed_at", "0001-01-01T00:00:00+14:00", None, "0001-01-01T00:00:00+14:00"),
        ("completed_at", 5, None, "5"),
        ("completed_at", b"2026", None, "4 bytes: b'2026'"),
        ("layer_name", b"\x00\xff", "", r"2 bytes: b'\x00\xff'"),
    ],
)
def test_i24_d11_d14_d16_d17_it_nulls_a_bad_value_and_notes_it(database, field, value, stored, note):
    database.run(**{field: value})

    run = values(database)

    assert run[field] == stored
    assert run["notes"] == {"nulled": {field: note}}


@pytest.mark.parametrize(
    ("field", "limit"),
    [("layer_name", 200), ("layer_hash", 64), ("status", 32), ("model_profile", 100), ("model_name", 200)],
)
def test_i24_it_cuts_overlong_text_and_notes_it(database, field, limit):
    database.run(**{field: "x" * (limit + 1)})

    run = values(database)

    assert run[field] == "x" * (limit - 1) + "…"
    assert run["notes"] == {"altered": {field: "cut"}}


def test_i24_d10_it_replaces_invalid_utf8_and_nul_and_notes_it(database):
    run_id = database.run(layer_hash="a\0b")
    database.execute(f"UPDATE layer_runs SET layer_name = {invalid_utf8(b'caf' + bytes([0xE9]))}")
    database.call(run_id, "c1")
    database.execute(f"UPDATE llm_calls SET topic_key = {invalid_utf8(b'caf' + bytes([0xE9]))}")

    run = read_one(database)

    assert (run.values["layer_name"], run.values["layer_hash"], run.calls[0][1]) == (
        "caf\ufffd",
        "a\ufffdb",
        "caf\ufffd",
    )
    assert run.values["notes"] == {
        "altered": dict.fromkeys(["call c1: topic", "layer_name", "layer_hash"], "replaced characters")
    }


@pytest.mark.parametrize(
    ("field", "position", "value", "stored"),
    [
        ("tokens_input", 6, "lots", 0),
        ("tokens_total", 8, -1, 550),
        ("estimated_cost_usd", 9, 9e999, None),
        ("latency_ms", 10, -3, None),
        ("success", 11, "perhaps", False),
    ],
)
def test_i24_a_bad_value_of_a_call_is_noted_on_its_run(database, field, position, value, stored):
    database.call(database.run(), "c1", **{field: value})

    run = read_one(database)

    assert run.calls[0][position] == stored
    assert list(run.values["notes"]["nulled"]) == [f"call c1: {field}"]


@pytest.mark.parametrize(
    ("call_id", "created_at"),
    [(ULID, TIME_OF_ULID), ("c1", datetime(2026, 11, 1, 10, tzinfo=UTC))],
)
def test_i24_a_call_at_an_unreadable_time_takes_its_ids_or_its_runs(database, call_id, created_at):
    database.call(database.run(), call_id, created_at="yesterday")

    run = read_one(database)

    assert run.calls[0][-1] == created_at
    assert run.values["notes"]["nulled"] == {f"call {call_id}: created_at": "yesterday"}


def test_it_writes_no_more_than_fifty_notes_on_a_run(database):
    run_id = database.run()
    for _ in range(60):
        database.call(run_id, latency_ms=-1)

    notes = values(database)["notes"]

    assert (len(notes["nulled"]), notes["more"]) == (50, 10)


def test_d15_it_nulls_tokens_whose_sum_no_column_can_hold(database):
    run_id = database.run()
    for _ in range(2):
        database.call(run_id, tokens_input=10**12, tokens_output=1, tokens_total=10**12, estimated_cost_usd=None)

    run = values(database)

    assert (run["tokens_input"], run["tokens_output"], run["tokens_total"]) == (None, None, None)
    assert run["unpriced_tokens"] == 10**12
    assert run["notes"] == {
        "nulled": {"tokens_input": str(2 * 10**12), "tokens_output": "2", "tokens_total": str(2 * 10**12)},
        "altered": {"unpriced_tokens": f"was {2 * 10**12}"},
    }


def test_it_nulls_a_sum_of_costs_that_no_column_can_hold(database):
    run_id = database.run()
    for _ in range(2):
        database.call(run_id, estimated_cost_usd=600_000)

    run = values(database)

    assert run["estimated_cost_usd"] is None
    assert run["notes"]["nulled"]["estimated_cost_usd"] == "1200000.000000000"


# Ids


@pytest.mark.parametrize("run_id", ["a/b", "", ".", "..", "\u202e\u200b", "x" * 65, "a b", b"blob", *RESERVED_IDS])
def test_d12_d13_it_maps_an_unusable_id_to_a_key_that_stays_the_same(database, run_id):
    database.run(run_id)

    first, second = read_one(database), read_one(database)

    assert first.id.startswith("zos-") and len(first.id) == 28
    assert first.id == second.id
    assert "original_id" in first.values["notes"]


def test_d12_it_keeps_the_original_of_an_id_it_maps(database):
    database.run("a/b")

    assert values(database)["notes"] == {"original_id": "a/b"}


def test_it_prefixes_ids_with_the_name_of_the_source(database):
    database.call(database.run("export"), "c1")

    run = read_one(database, source="paris")

    assert (run.id, run.values["source"], run.calls[0][0]) == ("paris:export", "paris", "paris:c1")
    assert not run.odd


def test_it_maps_an_id_that_is_too_long_behind_its_source(database):
    database.run("x" * 60)

    run = read_one(database, source="paris")

    assert run.id.startswith("paris:zos-")
    assert run.values["notes"] == {"original_id": "x" * 60}


def test_it_maps_an_unusable_id_of_a_call_to_a_key_that_stays_the_same(lax):
    run_id = lax.run()
    lax.call(run_id, "a/b")
    lax.call(run_id, None)

    first, second = read_one(lax), read_one(lax)

    assert first.calls == second.calls
    assert len({call[0] for call in first.calls}) == 2
    assert list(first.values["notes"]["altered"].values()) == ["was a/b", "was None"]


def test_it_takes_one_of_two_calls_with_the_same_id(lax):
    run_id = lax.run()
    lax.call(run_id, "c1", latency_ms=1)
    lax.call(run_id, "c1", latency_ms=2)

    run = read_one(lax)

    assert [(call[0], call[10]) for call in run.calls] == [("c1", 2)]
    assert run.values["notes"] == {"altered": {"calls": "1 with the id of another left out"}}


def test_a_row_without_an_id_is_told_from_others_by_what_it_is_and_when_it_began(lax):
    lax.run(None)
    lax.run(None, started_at="2026-11-01 11:00:00")

    first, second = read(lax)

    assert first.id != second.id
    assert first.values["notes"] == {"original_id": None}


def test_i24_it_takes_an_unreadable_start_from_a_ulid(database):
    database.run(ULID, started_at="not a date")

    run = values(database)

    assert run["started_at"] == TIME_OF_ULID
    assert run["notes"] == {
        "nulled": {"started_at": "not a date"},
        "altered": {"started_at": "taken from the id"},
    }


@pytest.mark.parametrize("run_id", ["run1", "7ZZZZZZZZZ" + "0" * 16, "0" * 26, b"blob"])
def test_i24_it_rejects_a_row_that_does_not_say_when_it_began(database, run_id):
    database.run(run_id, started_at="not a date")

    (run,) = read(database)

    assert isinstance(run, RejectedRun)
    assert run.reason == "its start is unreadable: not a date"


def test_it_names_a_rejected_row_that_has_no_id(lax):
    lax.run(None, started_at=None)

    assert read(lax) == [RejectedRun("(no id)", "its start is unreadable: None")]


# Reading a file that is in use


def test_i20_it_sees_what_zos_has_not_checkpointed(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.runs(100, calls=1)

    assert len(read(database)) == 100


def test_i26_it_sees_runs_that_arrive_while_it_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 2)
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(2)
    seen = []
    with zos.ZosDatabase(str(database)) as opened:
        for batch in opened.batches("", NOW):
            seen += [run.id for run in batch]
            if len(seen) < 6:
                database.call(database.run())

    assert len(seen) == len(set(seen)) == 6


def test_i26_it_holds_no_transaction_between_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 2)
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(6)
    with zos.ZosDatabase(str(database)) as opened:
        for _ in opened.batches("", NOW):
            ((busy, *_),) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert busy == 0


def test_i26_no_transaction_is_long(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(2_000, calls=8)
    begun, longest = [], 0.0

    def look(sql: str) -> None:
        nonlocal longest
        if sql == "BEGIN":
            begun.append(time.process_time())
        elif sql == "ROLLBACK":
            # Of its own work: a busy machine may keep it waiting.
            longest = max(longest, time.process_time() - begun[-1])

    with zos.ZosDatabase(str(database)) as opened:
        opened._connection.set_trace_callback(look)
        for batch in opened.batches("", NOW):
            assert len(batch) <= 1_000

    assert len(begun) == 5
    assert longest < 0.5


def wal_after_writing(database: ZosTestDatabase, reading: Iterator[object]) -> int:
    """Write while something reads, and return how large the log became that SQLite empties by itself."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA wal_autocheckpoint = 20")
    wal, largest = Path(f"{database}-wal"), 0
    for number in range(40):
        next(reading, None)
        database.execute("UPDATE layer_runs SET insights_created = ?", number)
        largest = max(largest, wal.stat().st_size)
    return largest


def test_i26_the_log_of_the_source_does_not_grow_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 10)
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(400, calls=1)
    alone = wal_after_writing(database, iter(()))

    with zos.ZosDatabase(str(database)) as opened:
        batches = opened.batches("", NOW)
        read = wal_after_writing(database, batches)
        assert list(batches) == []

    assert read <= 2 * alone


def test_i26_it_never_writes_to_the_source(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(10, calls=2)
    before = list(database.connection.iterdump()), database.execute("PRAGMA schema_version")
    wal = Path(f"{database}-wal").read_bytes()

    with zos.ZosDatabase(str(database)) as opened:
        assert len([run for batch in opened.batches("", NOW) for run in batch]) == 10
        for sql in ("DELETE FROM layer_runs", "CREATE TABLE more (id)", "PRAGMA user_version = 7"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                opened._connection.execute(sql)

    assert (list(database.connection.iterdump()), database.execute("PRAGMA schema_version")) == before
    assert Path(f"{database}-wal").read_bytes() == wal


def test_i26_it_leaves_the_file_as_it_was(database):
    database.runs(10, calls=2)
    before = database.path.read_bytes()

    read(database)

    assert database.path.read_bytes() == before


def test_it_stops_when_the_rows_are_numbered_anew_under_it(tmp_path, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 2)
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.runs(6)
    with zos.ZosDatabase(str(database)) as opened, pytest.raises(SourceError, match="was rebuilt while it was read"):
        for _ in opened.batches("", NOW):
            database.execute("VACUUM")


def test_it_counts_calls_without_a_run(database):
    database.call(database.run())
    database.call(None)
    database.call("gone")

    with zos.ZosDatabase(str(database)) as opened:
        assert opened.count_calls_without_a_run() == 2


def test_it_gives_each_run_its_own_calls(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 3)
    expected = {}
    for number in range(7):
        run_id = database.run()
        expected[run_id] = {database.call(run_id) for _ in range(number)}

    assert {run.id: {call[0] for call in run.calls} for run in read(database)} == expected


# Files that cannot be read


def test_i22_it_says_that_a_file_does_not_exist_and_creates_none(tmp_path):
    with pytest.raises(SourceError, match="There is no file"):
        zos.ZosDatabase(str(tmp_path / "zos.db"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("disguise", ["{}?immutable=1", "file:{}", "{}#", "{}%00"])
def test_i20_a_path_is_never_taken_for_a_uri(database, disguise):
    with pytest.raises(SourceError, match="There is no file"):
        zos.ZosDatabase(disguise.format(database))


def test_it_opens_a_path_with_every_odd_character(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos %20?immutable=1#&é.db")
    database.run()

    assert len(read(database)) == 1


def test_it_says_that_a_directory_is_no_file(tmp_path):
    with pytest.raises(SourceError, match="is not a file"):
        zos.ZosDatabase(str(tmp_path))


def test_it_says_that_a_file_is_no_database(tmp_path):
    path = tmp_path / "zos.db"
    path.write_text("a diary, not a database " * 100)

    with pytest.raises(SourceError, match="is not an SQLite database"):
        zos.ZosDatabase(str(path))


@pytest.mark.parametrize("table", ["layer_runs", "llm_calls"])
def test_i25_it_says_which_table_is_missing(database, table):
    database.execute(f"DROP TABLE {table}")

    with pytest.raises(SourceError, match=f"it has no table {table}"):
        zos.ZosDatabase(str(database))


def test_i25_it_lists_the_columns_that_are_missing(tmp_path):
    schema = SCHEMA.replace(", errors JSON", "").replace("model_name VARCHAR,\n    tokens", "tokens", 1)
    database = ZosTestDatabase(tmp_path / "zos.db", schema)

    with pytest.raises(SourceError, match="its table layer_runs lacks model_name, errors"):
        zos.ZosDatabase(str(database))


def test_i25_it_ignores_columns_it_does_not_know(database):
    database.execute("ALTER TABLE layer_runs ADD COLUMN mood VARCHAR")
    database.run(mood="fine")

    assert not read_one(database).odd


def test_i21_it_says_which_right_is_missing_to_read_a_wal_database():
    with tempfile.TemporaryDirectory() as name:
        database = ZosTestDatabase(Path(name) / "zos.db", wal=True)
        database.connection.close()
        Path(name).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)  # To root, no directory is closed.
        try:
            with pytest.raises(SourceError, match="in WAL mode, to write in its directory"):
                zos.ZosDatabase(str(database))
        finally:
            os.seteuid(user)
            Path(name).chmod(0o755)


def test_it_says_that_another_program_holds_the_file(database, monkeypatch):
    monkeypatch.setattr(zos, "BUSY_SECONDS", 0)
    database.execute("BEGIN EXCLUSIVE")

    with pytest.raises(SourceError, match="stayed locked by another program for 0 seconds"):
        zos.ZosDatabase(str(database))


def test_i23_it_says_what_sqlite_says_about_a_damaged_file(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 100)
    database.runs(1_200)
    database.damage(database.path.stat().st_size * 6 // 10)

    with pytest.raises(SourceError, match="cannot be read on: database disk image is malformed"):
        read(database)
