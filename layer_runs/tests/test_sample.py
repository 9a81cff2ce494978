"""What a stranger can read off the pages about a real Zos database, confirmed by SQL on that database itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from math import comb
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.urls import reverse

from layer_runs import formatting

pytestmark = pytest.mark.django_db
LAYER = "nightly-user-reflection"


@pytest.fixture
def ask(db) -> Callable[..., list[tuple]]:
    """Import the database, and ask the source itself by SQL."""
    path = os.environ.get("ZOS_SAMPLE_DB", "")
    if not path:
        pytest.skip("ZOS_SAMPLE_DB names no real Zos database to compare with")
    call_command("import_zos", path, verbosity=0)

    def ask(sql: str, *parameters: object) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as source:
            return source.execute(sql, parameters).fetchall()

    return ask


@pytest.fixture
def see(staff_client, dom):
    def see(view: str, query: str):
        answer = staff_client.get(reverse(f"layer_runs:{view}") + query)
        assert answer.status_code == 200
        return dom(answer)

    return see


def test_the_night_of_the_worst_outage_and_its_error_are_seen_in_the_timeline_and_in_errors(ask, see):
    nights = ask("SELECT date(started_at), sum(status = 'failed') FROM layer_runs GROUP BY 1 ORDER BY 2 DESC LIMIT 2")
    (night, failed), (_next, fewer) = nights
    assert failed > fewer
    errors = ask(
        "SELECT lower(json_extract(line.value, '$.error')) AS said, count(*) AS number, count(DISTINCT layer_runs.id)"
        " FROM layer_runs, json_each(errors) AS line WHERE date(started_at) = ? GROUP BY said ORDER BY 2 DESC, 3 DESC",
        night,
    )

    table = see("list", "?period=all").one("table[@class='lr-table lr-numbers']")
    heads = [cell.text for cell in table.findall(".//thead//th")]
    rows = [row.findall("*") for row in table.findall(".//tbody/tr")]
    column = heads.index("failed")
    worst = max(rows, key=lambda row: int(row[column].text))
    assert worst[column].text == str(failed)
    link = worst[0].find("a").get("href")
    assert link.endswith(f"since={night}&until={night}")

    page = see("errors", f"?since={night}&until={night}")
    said = {title.lower().rstrip(".") for title in page.texts("a[@class='lr-cause']")}
    assert errors[0][0].rstrip(".") == page.texts("a[@class='lr-cause']")[0].lower()
    assert len(said) == len(errors)


def test_the_layer_that_costs_most_per_insight_leads_the_layers_in_that_order(ask, see):
    layers = ask(
        "SELECT layer_name, sum(cost) / sum(insights_created) FROM layer_runs LEFT JOIN"
        " (SELECT layer_run_id, sum(estimated_cost_usd) AS cost FROM llm_calls GROUP BY 1) AS calls"
        " ON calls.layer_run_id = layer_runs.id GROUP BY 1 ORDER BY 2 DESC"
    )

    page = see("layers", "?period=all&sort=-per_insight")
    rows = page.all("tr[@data-layer]")
    assert [row.get("data-layer") for row in rows] == [layer for layer, _cost in layers]
    name, cost = layers[0]
    assert name == "weekly-meta-reflection"
    assert formatting.usd(Decimal(str(cost))) in page.text(rows[0])


def test_whether_the_third_version_is_better_or_worse_than_the_second_is_not_to_be_told(ask, see):
    outages = ask(
        "SELECT date(started_at) FROM layer_runs GROUP BY 1"
        " HAVING 2 * sum(json_array_length(errors) > 0 OR completed_at IS NULL) > count(*)"
    )
    versions = ask(
        "SELECT layer_hash, sum(status = 'success'), sum(status IN ('partial', 'failed') OR completed_at IS NULL)"
        f" FROM layer_runs WHERE layer_name = ? AND date(started_at) NOT IN ({', '.join('?' * len(outages))})"
        " GROUP BY 1 ORDER BY min(started_at)",
        LAYER,
        *(night for (night,) in outages),
    )
    (_hash, good_2, bad_2), (third, good_3, bad_3) = versions[1:]
    n_2, n_3, bad = good_2 + bad_2, good_3 + bad_3, bad_2 + bad_3

    def chance(of_third: int) -> float:
        return comb(n_3, of_third) * comb(n_2, bad - of_third) / comb(n_2 + n_3, bad)

    seen = chance(bad_3)
    p = sum(chance(k) for k in range(bad + 1) if chance(k) <= seen * (1 + 1e-9))

    page = see("layers", f"?period=all&layer_name={LAYER}")
    row = page.text(page.one(f"tr[@data-version='{third}']"))
    assert "no clear change" in row
    assert f"p = {p:.2f}" in row
    assert f"{bad_3} of {n_3}" in row


def test_the_target_that_fails_most_leads_the_targets(ask, see):
    ((topic, errors), (_next, fewer)) = ask(
        "SELECT json_extract(line.value, '$.topic') AS topic, count(*) FROM layer_runs, json_each(errors) AS line"
        " WHERE topic IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 2"
    )
    assert errors > fewer

    page = see("errors", "?period=all")
    first = page.all("tr[@data-topic]")[0]
    assert first.get("data-topic") == topic
    assert f"{topic} {errors} " in page.text(first) + " "
