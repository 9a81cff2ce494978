"""SQL that is written differently, and means the same, on SQLite and PostgreSQL."""

from __future__ import annotations

import string
from typing import Any

from django.db.models import BooleanField, Case, Func, Lookup, Sum, When

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class ErrorCount(Func):
    """How many errors a JSON value holds: its elements; one for anything else that is not null."""

    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = (
            "(CASE json_type(%(expressions)s) WHEN 'array' THEN json_array_length(%(expressions)s)"
            " WHEN 'null' THEN 0 ELSE 1 END)"
        )
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = (
            "(CASE jsonb_typeof(%(expressions)s) WHEN 'array' THEN jsonb_array_length(%(expressions)s)"
            " WHEN 'null' THEN 0 ELSE 1 END)"
        )
        return self.as_sql(compiler, connection, template=template, **extra)


class FirstErrorText(Func):
    """The first 200 characters of one key of the first error, or of a bare text in its place."""

    arity = 1

    def __init__(self, expression: Any, *, key: str, **extra: Any) -> None:
        self.key = key
        super().__init__(expression, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        paths = [f"$[0].{self.key}", f"$.{self.key}"]
        odd = "''"
        if self.key == "error":
            paths += ["$[0]", "$"]
            odd = "substr(%(expressions)s, 1, 200)"
        branches = "".join(
            f" WHEN json_type(%(expressions)s, '{path}') = 'text' THEN {self._readable(path, odd)}" for path in paths
        )
        return self.as_sql(compiler, connection, template=f"(CASE{branches} ELSE '' END)", **extra)

    def _readable(self, path: str, odd: str) -> str:
        # A lone surrogate escape becomes bytes that no driver can read back, and GLOB takes those for U+FFFD.
        # Our own writing never holds one; a foreign writer's row shows its JSON instead of breaking every list.
        text = f"substr(json_extract(%(expressions)s, '{path}'), 1, 200)"
        return f"CASE WHEN replace({text}, '\ufffd', '') GLOB '*\ufffd*' THEN {odd} ELSE {text} END"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # By `-> 0` and not by a path, which would take the key "0" of an object for the first of a list.
        places = [f"%(expressions)s -> 0 -> '{self.key}'", f"%(expressions)s -> '{self.key}'"]
        if self.key == "error":
            places += ["%(expressions)s -> 0", "%(expressions)s"]
        branches = "".join(
            f" WHEN jsonb_typeof({place}) = 'string' THEN left(({place}) #>> '{{}}', 200)" for place in places
        )
        return self.as_sql(compiler, connection, template=f"(CASE{branches} ELSE '' END)", **extra)


class MillisecondsBetween(Func):
    """Whole milliseconds from the first moment to the second, halves away from zero; NULL without both."""

    arity = 2

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        (start, params), (end, more) = (compiler.compile(node) for node in self.source_expressions)
        # From the text itself: julianday() of a time of day is a float, and misses by one.
        moment = (
            "(CAST(julianday(substr({0}, 1, 10)) - 2440587.5 AS integer) * 86400000000"
            " + substr({0}, 12, 2) * 3600000000 + substr({0}, 15, 2) * 60000000"
            " + substr({0}, 18, 2) * 1000000 + substr({0} || '000000', 21, 6))"
        )
        return f"CAST(round(({moment.format(end)} - {moment.format(start)}) / 1000.0) AS integer)", (*params, *more)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        (start, params), (end, more) = (compiler.compile(node) for node in self.source_expressions)
        return f"round(extract(epoch from ({end} - {start})) * 1000)::bigint", (*params, *more)


class SumOfUsd(Sum):
    """The sum of a column of nano-dollars, exact however large. SQLite's own fails beyond $9.2 billion."""

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        (amount,) = self.get_source_expressions()[:1]
        if self.filter is not None:
            amount = Case(When(getattr(self.filter, "condition", self.filter), then=amount))
        sql, params = compiler.compile(amount)
        # Dollars and the rest apart; what no integer holds comes back as text, which the field reads as well.
        dollars, rest = f"sum(({sql}) / 1000000000)", f"sum(({sql}) %% 1000000000)"
        whole = f"{dollars} + {rest} / 1000000000"
        large = f"(({whole}) || substr('00000000' || ({rest} %% 1000000000), -9))"
        return f"CASE WHEN {whole} < 9000000000 THEN {dollars} * 1000000000 + {rest} ELSE {large} END", (*params,) * 7


def added_up(column: str) -> Sum:
    """Return the sum of a column; one of money is named for it."""
    return SumOfUsd(column) if column.endswith("_usd") else Sum(column)


class IsRunId(Func):
    """Whether a text can be part of a URL as it is: letters, digits and `_ . : -`, not `.` or `..`."""

    arity = 1
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = (
            "(%(expressions)s GLOB '?*' AND %(expressions)s NOT GLOB '*[^-A-Za-z0-9_.:]*'"
            " AND %(expressions)s NOT IN ('.', '..'))"
        )
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "((%(expressions)s COLLATE \"C\") ~ '^[A-Za-z0-9_.:-]+$' AND %(expressions)s NOT IN ('.', '..'))"
        return self.as_sql(compiler, connection, template=template, **extra)


class IsInstant(Func):
    """Whether a stored moment can be read back. SQLite keeps moments as text and would take any."""

    arity = 1
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # With a modifier datetime() normalises 31 February away; fractions apart, since it would round them.
        # Texts sort as moments only in one zone, so that an offset other than UTC's is no moment here.
        template = (
            "(datetime(substr(%(expressions)s, 1, 19), '+0 days') IS substr(%(expressions)s, 1, 19)"
            " AND (julianday(%(expressions)s) IS NULL) = (%(expressions)s IS NULL)"
            " AND (substr(%(expressions)s, 20) GLOB '*[-+]*' AND %(expressions)s NOT GLOB '*+00:00') IS NOT 1)"
        )
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="(isfinite(%(expressions)s) IS NOT FALSE)", **extra)


class IsStoredAs(Func):
    """Whether each value is NULL or of the kind `text` or `integer`. SQLite lets a column hold any kind of value."""

    output_field = BooleanField()

    def __init__(self, *expressions: Any, kind: str, **extra: Any) -> None:
        self.kind = kind
        super().__init__(*expressions, **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        compiled = [compiler.compile(node) for node in self.source_expressions]
        kinds = " AND ".join(self._is_stored(sql) for sql, _ in compiled)
        return f"({kinds})", [param for _, params in compiled for param in params]

    def _is_stored(self, sql: str) -> str:
        kind = f"typeof({sql}) IN ('{self.kind}', 'null')"
        # PostgreSQL takes no NUL. (What is no text, or NULL, is not looked into.)
        return kind if self.kind != "text" else f"{kind} AND (typeof({sql}) <> 'text' OR instr({sql}, char(0)) = 0)"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return "TRUE", []


class ContainsIgnoringAsciiCase(Lookup):
    """`field__contains_ascii=text`: literal text, `a` and `A` alike, everything else exact, on both databases."""

    lookup_name = "contains_ascii"

    def process_rhs(self, compiler: Any, connection: Any) -> Any:
        pattern = str(self.rhs)
        for special in ("\\", "%", "_"):
            pattern = pattern.replace(special, f"\\{special}")
        return "%s", [f"%{pattern.translate(_ASCII_LOWER)}%"]

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        lhs, params = self.process_lhs(compiler, connection)
        rhs, more = self.process_rhs(compiler, connection)
        return f"{lhs} LIKE {rhs} ESCAPE '\\'", [*params, *more]

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        lhs, params = self.process_lhs(compiler, connection)
        rhs, more = self.process_rhs(compiler, connection)
        return f'lower({lhs} COLLATE "C") LIKE {rhs}', [*params, *more]
