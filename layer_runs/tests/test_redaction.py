from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.demo import invent
from layer_runs.fields import without_secrets
from layer_runs.models import LayerRun, LlmCall
from layer_runs.notes import note_lines
from layer_runs.redaction import REDACTED, compiled, redact, redact_json
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.tests.zos_database import ZosTestDatabase

unhurried = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Made up, and put together here, so that nobody takes them for lost ones. §: where the secret is.
RANDOM = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY"
LOWER = "0f9e8d7c6b5a49382716"
CAPITALS = "Q2W3E4R5T6Z7U2I3"
PART = "eyJ" + RANDOM

SECRETS = [
    pytest.param("Incorrect key sk-§, sorry.", RANDOM, id="d28-openai"),
    pytest.param("sk-proj-§", RANDOM + "_-" + RANDOM, id="d28-openai-project"),
    pytest.param("{'x': 'sk-ant-§'}", "api03-" + RANDOM, id="d28-anthropic"),
    pytest.param(r"first line\nsk-ant-§\nlast line", RANDOM, id="d28-after-an-escaped-line-end"),
    pytest.param(
        "Incorrect API key provided: §. You can find yours at https://example.org/keys.", LOWER, id="d28-told"
    ),
    pytest.param("Authorization: Bearer §", RANDOM, id="d28-bearer"),
    pytest.param("{'Authorization': 'Bearer §'}", "swordfish", id="d28-bearer-of-a-word"),
    pytest.param('"authorization": "Basic §"', "dXNlcjpwYXNz", id="d28-basic"),
    pytest.param("sent with bearer § to the host", "a.b~" + LOWER, id="d28-bearer-alone"),
    pytest.param("password=§", "hunter2", id="d28-password-assigned"),
    pytest.param("password=§", "swordfish", id="d28-password-of-a-word"),
    pytest.param("password=§.", "hunter2", id="d28-password-ends-a-sentence"),
    pytest.param("Password: §", "hun,ter2!", id="d28-password-of-signs"),
    pytest.param("Login failed with password: §\nnext line", "swordfish", id="d28-password-ends-a-line"),
    pytest.param('{"password": "§", "user": "bob"}', "correct horse b4ttery", id="d28-password-in-json"),
    pytest.param(r"{\"password\": \"§\"}", "hunter2", id="d28-password-in-json-in-json"),
    pytest.param("{'passwd': '§'}", "swordfish", id="d28-passwd"),
    pytest.param("pwd = §", "s3cr3t", id="d28-pwd"),
    pytest.param("DB_PASSWORD=§ make run", "hunter2", id="d28-password-of-the-environment"),
    pytest.param("connect(user=bob, password=§, host=x)", "swordfish", id="d28-password-among-arguments"),
    pytest.param("host=db user=app password=§ dbname=x", "hunter", id="d28-password-of-libpq"),
    pytest.param("secret=§", "abc123def", id="d28-secret"),
    pytest.param("client_secret: §", "swordfish", id="d28-client-secret"),
    pytest.param("aws_secret_access_key = §", RANDOM[:20] + "/K7+" + RANDOM[:16], id="d28-aws-secret"),
    pytest.param("AWS AKIA§ denied", CAPITALS, id="d28-aws-key"),
    pytest.param("token=§&next=1", LOWER, id="d28-token"),
    pytest.param('"token": "§"', "550e8400-e29b-41d4-a716-446655440000", id="d28-token-that-is-a-uuid"),
    pytest.param("access_token='§'", "ya29." + RANDOM, id="d28-access-token"),
    pytest.param("api_key=§", "abcdef", id="d28-api-key"),
    pytest.param("api-key: §", LOWER, id="d28-api-key-hyphen"),
    pytest.param("apikey='§'", "k3y", id="d28-apikey"),
    pytest.param("x-api-key: §", "sk-ant-" + RANDOM, id="d28-x-api-key"),
    pytest.param("GET https://host/v1?key=§&alt=json", "AIza" + RANDOM, id="d28-query-key"),
    pytest.param("GET https://host/v1?api_key=§&alt=json", "abc123", id="d28-query-api-key"),
    pytest.param("https://host/blob?sv=2020&sig=§", RANDOM + "%3D", id="d28-query-signature"),
    pytest.param("https://user:§@host/path", "pass", id="d28-userinfo"),
    pytest.param("postgres://app:§@db:5432/x", "p@ss/w0rd", id="d28-postgres"),
    pytest.param("postgresql+psycopg://app:§@db/x", "secret", id="d28-postgres-driver"),
    pytest.param("redis://:§@cache:6379/0", "hunter", id="d28-redis"),
    pytest.param("remote: ghp_§", RANDOM, id="d28-github"),
    pytest.param("github_pat_§", "11" + RANDOM + "_" + RANDOM, id="d28-github-fine-grained"),
    pytest.param("xoxb-§", "123456789012-" + RANDOM, id="d28-slack"),
    pytest.param("AIza§", "Sy" + RANDOM, id="d28-google"),
    pytest.param("sk_live_§", RANDOM, id="d28-stripe"),
    pytest.param("hf_§", RANDOM, id="d28-hugging-face"),
    pytest.param("cookie eyJ§ expired", f"{RANDOM}.{PART}.{RANDOM}", id="d28-json-web-token"),
    pytest.param(
        "-----BEGIN RSA PRIVATE KEY-----§-----END RSA PRIVATE KEY-----", f"\n{RANDOM}\n{RANDOM}=\n", id="d28-pem"
    ),
    pytest.param("404: https://discord.com/api/webhooks/112233445566778899/§", RANDOM * 2, id="d28-discord-webhook"),
    pytest.param("https://discordapp.com/api/v10/webhooks/112233445566778899/§/github", LOWER, id="d28-discord-github"),
    pytest.param(
        "Improper token MTk4NjIyNDgzNDcxOTI1MjQ4.§ has been passed", f"Cl2FMQ.{RANDOM[:27]}", id="d28-discord-bot"
    ),
    pytest.param(r"token:\nNzE2ODQ0OTE4MDcyMjQ2Mjcy.§", f"X-_abc.{RANDOM}abcdef", id="d28-discord-bot-escaped"),
    pytest.param("https://hooks.slack.com/services/T012AB3CD/B045EF6GH/§ said 403", RANDOM[:24], id="d28-slack-hook"),
    pytest.param("https://api.telegram.org/bot123456789:§/sendMessage", "AA" + RANDOM, id="d28-telegram"),
    pytest.param("https://§@host/path", "abcdef1234567890abcdef", id="d28-user"),
    pytest.param("https://§@o1.ingest.sentry.io/7", LOWER, id="d28-user-of-sentry"),
    pytest.param("git clone --token § failed", "abcd1234efgh5678", id="d28-option-token"),
    pytest.param("run --password §", "x1y2z3", id="d28-option-password"),
    pytest.param("run --api-key § --now", LOWER, id="d28-option-api-key"),
    pytest.param("run --openai-api-key '§'", RANDOM, id="d28-option-quoted"),
    pytest.param("Command '['run', '--token', '§']' returned 1", LOWER, id="d28-option-in-a-list"),
    pytest.param("curl -s -u admin:§ https://host", "s3cret", id="d28-curl"),
    pytest.param("curl --user 'admin:§' https://host", "swordfish", id="d28-curl-quoted"),
    pytest.param("password=SecretStr('§')", "abc123def", id="d28-secret-str"),
    pytest.param("The API key § is invalid", "abcdef1234567890abcdef", id="d28-api-key-told"),
    pytest.param("PGPASSWORD=§ psql", "secretpw", id="d28-environment-pgpassword"),
    pytest.param("GITHUB_TOKEN=§ make", "swordfish", id="d28-environment-token"),
    pytest.param("CLIENT_SECRET=§ make", "mysecretvalue", id="d28-environment-secret"),
    pytest.param("OPENAI_API_KEY=§ make", "mykeyforopenai", id="d28-environment-api-key"),
    pytest.param("r8_§", RANDOM, id="d28-replicate"),
    pytest.param("pplx-§", RANDOM + RANDOM[:16], id="d28-perplexity"),
    pytest.param("xai-§", RANDOM * 2, id="d28-xai"),
    pytest.param("SG.§.", f"{RANDOM[:22]}.{RANDOM}a1b2c3", id="d28-sendgrid"),
    pytest.param("npm_§", RANDOM + "a1b2", id="d28-npm"),
    pytest.param("dckr_pat_§", RANDOM[:27], id="d28-docker"),
]

INNOCENT = [
    pytest.param(text, id=f"d28-{number:02}")
    for number, text in enumerate(
        [
            "This request would exceed your organization’s rate limit of 40,000 input tokens per minute",
            "prompt is too long: 213451 tokens > 200000 maximum",
            "max_tokens: 4096",
            "token limit: 4096, max_token=4096",
            "Unexpected token < in JSON at position 0",
            "Unexpected token: 'const1234'",
            "input_tokens=54468 output_tokens=4371",
            "password is required",
            "password: This field is required.",
            '{"password": ["This field may not be blank."], "token": "Token is invalid or expired"}',
            "password: at least 8 characters",
            "password: 8 characters minimum",
            'FATAL: password authentication failed for user "zos"',
            "api_key=None password=null secret: missing token: invalid",
            "password=******** token=<hidden> api_key={key} secret=${SECRET} Bearer %s",
            "password=SecretStr('**********')",
            "secret santa channel: secret: santa",
            'secret "db-creds-v2" not found; secret: db-creds-v2',
            "550e8400-e29b-41d4-a716-446655440000 01ARZ3NDEKTSV4RRFFQ69G5FAV req_011CSHoEeqs5C35K2UUqR7Fy",
            "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b, sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO",
            "sk-learn, task-sk-12, sk-learn-contrib-0.24.2 and risk-assessment-of-everything-there-is",
            'File "/usr/lib/python3.11/site-packages/secret/token.py", line 12, in get_token',
            "    client = Anthropic(api_key=api_key, password=settings.PASSWORD, token=self.get_token())",
            '    token = data["token"]; key = hashlib.sha256(secret=base64.b64decode(value))',
            '    headers={"Authorization": f"Bearer {token}", "x-api-key": key}',
            "    def login(user: str, password: str, token: Optional[str] = None) -> None:",
            "KeyError: 'api_key'",
            "The api_key client option must be set by passing api_key or by the OPENAI_API_KEY environment variable",
            "{'type': 'authentication_error', 'message': 'invalid x-api-key'}",
            "Incorrect API key provided: sk-proj-********************abcd.",
            "Bearer token is missing",
            'WWW-Authenticate: Bearer realm="example", error="invalid_token"',
            "Authorization: header missing; Authorization header: Bearer authentication required",
            "postgresql://user:***@host/db http://localhost:8000",
            "Connection to http://localhost:8000.",
            "http://[::1]:8000",
            "Failed: https://api.anthropic.com:443/v1/messages",
            "PWD=/home/zos/app OLDPWD=~/app",
            "{'token': ' hello', 'logprob': -0.1}",
            "eos_token: '</s>', next_page_token: CAUQAA1234567",
            "primary key: 550e8400-e29b-41d4-a716-446655440000, cache key: user:1032:topic1, key=value",
            r"C:\Users\token\secret.txt s3://bucket/key=abc",
            "ASIANCOUNTRIES hf_transformers_model ghost_ghp_ xoxo-hugs",
            "",
            "continuation_token: abc123DEF456",
            "cursor token=abc123DEF, nextContinuationToken=abc123DEF",
            "csrf token: abc123",
            "token='\u0120hello1'",
            "token: 'function_call1'",
            "token=cl100k_base",
            "token: 0x7f3a2b1c",
            "Service key: 'channel_speak'",
            "account_key: user_42",
            "encryption key: AES256",
            "private key=/etc/ssl/key1.pem, secret: /run/secrets/db1 token=/var/run/token1",
            "access key=arn:aws:iam::123456789012:role/x",
            "secret: nightly-user-reflection-2026-11-01T00",
            "Invalid password: user42 not in group",
            "ASIAPACIFICSOUTH1 ASIAPACIFICSOUTHEAST1 AKIAPACIFICSOUTHEAST",
            "the options --token and --password are required; --token TOKEN --api-key $API_KEY1 --password-file x1.txt",
            "docker run -u 1000:1000, chown -u user1:group1, curl -u user:$PASS",
            "https://git@github.com/x ssh://deploy-user-2024@host https://app2_reader_readonly@host http://localhost",
            "The API key is invalid. The API key openai_api_key_2 was not found",
            "PASSWORD=password MAX_TOKEN=4096 TOKEN=IDENTIFIER GITHUB_TOKEN=settings.token API_KEY=get_key()",
            "npm_config_registry npm_package_version xai-grok-4-fast-reasoning pplx-online-model-large",
            "MTk4NjIyNDgzNDcxOTI1MjQ4.method.call some_module_of_a_long_name.Client.test_of_what_is_even_longer2",
            "/webhooks/12345/deliveries /bot12345:commands https://hooks.slack.com/services/T/B/XXXXXXXX",
        ]
    )
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_d28_a_secret_is_replaced_and_all_else_stays(text: str, secret: str) -> None:
    given = text.replace("§", secret)
    assert redact(given) == (text.replace("§", REDACTED), 1)
    assert redact(f"before {given} after")[0].startswith("before ")


@pytest.mark.parametrize("text", INNOCENT)
def test_d28_ordinary_text_about_tokens_and_passwords_stays_to_the_letter(text: str) -> None:
    assert redact(text) == (text, 0)
    assert redact_json([{"topic": text, "error": text}]) == ([{"topic": text, "error": text}], 0)


def test_d28_a_token_that_is_the_user_of_a_url_goes_with_its_password() -> None:
    assert redact(f"https://{RANDOM}:x-oauth-basic@github.com/x") == ("https://[redacted]@github.com/x", 1)
    assert redact(f"https://deploy-of-the-app-2:{LOWER}@host") == ("https://deploy-of-the-app-2:[redacted]@host", 1)


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_d28_a_text_that_was_cut_anywhere_shows_no_more_of_a_secret_than_a_few_letters(text: str, secret: str) -> None:
    whole = text.replace("§", secret)
    begins = text.index("§")
    for end in range(begins, len(whole)):
        kept, _number = redact(whole[:end])
        seen = kept[begins : begins + 30].removeprefix(REDACTED)
        common = os.path.commonprefix([seen, secret])
        # `sk-` and fifteen characters open no door.
        assert len(common) < 16 or len(secret) < 16, whole[:end]
    assert secret not in redact(whole + " …")[0] or len(secret) < 5


def test_d28_several_secrets_are_replaced_and_counted_each() -> None:
    text = f"sk-{RANDOM} and sk-{RANDOM}; password=a1b2c3 Bearer {LOWER}"
    assert redact(text) == ("sk-[redacted] and sk-[redacted]; password=[redacted] Bearer [redacted]", 4)


PIECES = st.sampled_from(
    [
        *(case.values[0].replace("§", case.values[1]) for case in SECRETS),
        *(case.values[0] for case in INNOCENT),
        *("sk-", "Bearer ", "password", "token", "key", "secret=", "=", ": ", '"', "'", "\\", "\n", " ", "@", "://a:"),
        *("[redacted]", "[redac", "-----BEGIN PRIVATE KEY-----", "eyJ", ".", ",", "(", "[", "…", "\u0130", "AKIA"),
        *(RANDOM, CAPITALS, LOWER, "swordfish"),
    ]
)


@unhurried
@given(st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join))
def test_d28_what_was_redacted_stays_as_it_is(text: str) -> None:
    once, _number = redact(text)
    assert redact(once) == (once, 0)


@unhurried
@given(st.lists(PIECES, max_size=6).map("".join), st.integers(0, 200))
def test_d28_what_was_redacted_and_then_cut_gains_no_secret(text: str, length: int) -> None:
    once, _number = redact(text)
    cut = once[:length] + "…"
    again, number = redact(cut)
    assert redact(again) == (again, 0)
    assert number <= 1


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "a",
            "A1",
            "sk-",
            "Bearer ",
            "password=",
            "password: ",
            "'password': '",
            "token: (((",
            "?key=",
            "eyJa/",
            "eyJ.",
        ),
        *("://a:", "secret: a1 ", "authorization: ", "-----BEGIN PRIVATE KEY-----", "AKIA ", "hf_ ", "\\", '"', ","),
        *('token="\\', "password=a,", "api_key:", "token=\"x'", "redis://:a@", "authorization=", "=", "key: sk-"),
        *(
            "--token ",
            "curl -u a:",
            "-u",
            "https://a1",
            ".",
            f"{RANDOM}.",
            "NTk4" * 7 + ".abcdef.",
            "api key ",
            "/bot1",
        ),
    ],
)
def test_d28_d29_a_long_text_takes_time_in_proportion(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            redact(text)
            best = min(best, time.process_time() - began)
        return best

    # Eight times the text: eight times as long, where a square would be sixty-four.
    assert seconds(80_000) < 30 * seconds(10_000) + 0.01


# --- what a site adds, and what it switches off


def test_d28_a_site_adds_patterns_of_its_own(settings) -> None:
    settings.LAYER_RUNS = {"REDACT_ALSO": [r"customer-\d+", r"(?i)\bada\b"]}
    said, number = without_secrets(f"Ada: customer-17 and customer-x, sk-{RANDOM}")
    assert (said, number) == ("[redacted]: [redacted] and customer-x, sk-[redacted]", 3)
    assert without_secrets(said) == (said, 0)


@pytest.mark.parametrize("pattern", ["", "x*", "[a-z]", r"\w+", "redacted", r"\[", ".*"])
def test_d28_a_greedy_pattern_never_replaces_what_was_replaced(settings, pattern: str) -> None:
    settings.LAYER_RUNS = {"REDACT_ALSO": (pattern,)}
    once, _number = without_secrets("ab [ x")
    assert without_secrets(once) == (once, 0)


def test_d28_a_pattern_that_is_none_is_refused_by_name_and_stops_nobody_from_writing(settings, db) -> None:
    settings.LAYER_RUNS = {"REDACT_ALSO": ["(", 7, "seven"]}
    with pytest.raises(re.error):
        compiled(["("])
    with pytest.raises(TypeError):
        compiled([7])
    run = LayerRunFactory(errors=[{"error": f"seven password={LOWER}"}])
    assert run.errors == [{"error": "[redacted] password=[redacted]"}]


def test_d28_a_site_switches_it_off(settings, db) -> None:
    settings.LAYER_RUNS = {"REDACT": False, "REDACT_ALSO": ["x"]}
    run = LayerRunFactory(errors=[{"error": "password=hunter2 x"}])
    run.refresh_from_db()
    assert (run.errors, run.notes) == ([{"error": "password=hunter2 x"}], {})


# --- JSON

SHAPES = [
    pytest.param(f"password={LOWER}", "password=[redacted]", 1, id="d08-d28-text"),
    pytest.param([f"password={LOWER}"] * 2, ["password=[redacted]"] * 2, 2, id="d08-d28-texts"),
    pytest.param({"error": [{"deep": f"sk-{RANDOM}"}]}, {"error": [{"deep": "sk-[redacted]"}]}, 1, id="d08-d28-deep"),
    pytest.param({"headers": {"x-api-key": "swordfish"}}, {"headers": {"x-api-key": REDACTED}}, 1, id="d28-by-its-key"),
    pytest.param(
        {"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": "Basic [redacted]"}, 1, id="d28-by-its-scheme"
    ),
    pytest.param({f"sk-{RANDOM}": 1}, {f"sk-{RANDOM}": 1}, 0, id="d28-keys-stay"),
    pytest.param(
        {"tokens": 7, "password": None, "token": 1.5},
        {"tokens": 7, "password": None, "token": 1.5},
        0,
        id="d28-figures",
    ),
    pytest.param({"password": "This field is required."}, {"password": "This field is required."}, 0, id="d28-prose"),
]


@pytest.mark.parametrize(("value", "kept", "number"), SHAPES)
def test_d28_secrets_are_found_in_json_of_any_shape(db, value: Any, kept: Any, number: int) -> None:
    assert redact_json(value) == (kept, number)
    assert redact_json(kept) == (kept, 0)
    run = LayerRunFactory(errors=value)
    run.refresh_from_db()
    assert (run.errors, run.notes) == (kept, {"redacted": {"errors": number}} if number else {})


# --- every way of writing

UNSEEN = "zQ9xT4vB7nM2kL5jH8gF3dS6"
ERRORS = [{"topic": "server:1:user:1", "error": f"Error code: 401 - sk-ant-{UNSEEN}", "node": "reflect"}]
KEPT = [{"topic": "server:1:user:1", "error": "Error code: 401 - sk-ant-[redacted]", "node": "reflect"}]
MESSAGE = f"401 with token={UNSEEN}"


def created() -> LayerRun:
    run = LayerRunFactory(errors=ERRORS)
    run.calls.create(error_message=MESSAGE, success=False)
    LlmCall.objects.create(run=run, error_message=MESSAGE)
    return run


def bulk_created() -> LayerRun:
    (run,) = LayerRun.objects.bulk_create([LayerRunFactory.build(errors=ERRORS)])
    LlmCall.objects.bulk_create([LlmCallFactory.build(run=run, error_message=MESSAGE)])
    return run


def bulk_updated() -> LayerRun:
    run = LayerRunFactory()
    call = LlmCallFactory(run=run)
    run.errors, call.error_message = ERRORS, MESSAGE
    LayerRun.objects.bulk_update([run], ["errors"])
    LlmCall.objects.bulk_update([call], ["error_message"])
    return run


def updated() -> LayerRun:
    run = LlmCallFactory().run
    LayerRun.objects.filter(pk=run.pk).update(errors=ERRORS)
    run.calls.update(error_message=MESSAGE)
    return run


def saved_in_part() -> LayerRun:
    run = LayerRunFactory()
    call = LlmCallFactory(run=run)
    run.errors, call.error_message = ERRORS, MESSAGE
    run.save(update_fields=["errors"])
    call.save(update_fields=["error_message"])
    return run


def created_or_updated() -> LayerRun:
    values = {"layer_name": "x", "errors": ERRORS}
    LayerRun.objects.update_or_create(pk="once", defaults=values)
    return LayerRun.objects.update_or_create(pk="once", defaults=values)[0]


WAYS = [created, bulk_created, bulk_updated, updated, saved_in_part, created_or_updated]


def everything_stored() -> str:
    tables = [table for table in connection.introspection.table_names() if table.startswith("layer_runs_")]
    rows = []
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            rows += cursor.fetchall()
    return repr(rows)


@pytest.mark.django_db
@pytest.mark.parametrize("write", WAYS)
def test_d28_no_way_of_writing_stores_a_secret(write) -> None:
    run = LayerRun.objects.get(pk=write().pk)
    assert run.errors == KEPT
    assert run.error_preview == run.error_lines.get().message == "Error code: 401 - sk-ant-[redacted]"
    assert set(run.calls.values_list("error_message", flat=True)) <= {"401 with token=[redacted]"}
    assert UNSEEN not in everything_stored()
    assert "[redacted]" in everything_stored()
    told = {"redacted": {"errors": 1}}
    assert run.notes == ({} if write in (updated, bulk_updated) else told)


@pytest.mark.django_db
def test_d28_no_page_export_or_search_shows_a_secret(admin_client, tmp_path) -> None:
    database = ZosTestDatabase(tmp_path / "zos.db")
    database.run(
        "imported", errors=json.dumps(ERRORS), completed_at=f"api_key={UNSEEN}", started_at=str(datetime.now())
    )
    database.call("imported", error_message=MESSAGE)
    database.run("unreadable", errors=f"{{token={UNSEEN}", started_at=str(datetime.now()))
    with pytest.raises(CommandError):
        call_command("import_zos", str(database), stdout=StringIO())
    for write in WAYS:
        write()

    runs = list(LayerRun.objects.values_list("pk", flat=True))
    pages = [
        *(reverse(f"layer_runs:{name}") for name in ("list", "errors", "errors_csv", "costs", "layers", "stats")),
        *(reverse("layer_runs:export", args=[kind]) for kind in ("csv", "json")),
        *(reverse(f"layer_runs:{name}", args=[pk]) for name in ("detail", "run_errors", "raw") for pk in runs),
        *(reverse("admin:layer_runs_layerrun_change", args=[pk]) for pk in runs),
        reverse("admin:layer_runs_layerrun_changelist"),
    ]
    shown = 0
    for page in pages:
        response = admin_client.get(page, {"period": "all"})
        assert response.status_code in (200, 302), page
        content = b"".join(response.streaming_content) if response.streaming else response.content
        assert UNSEEN.encode() not in content, page
        shown += content.count(b"[redacted]")
    assert shown > 20
    assert not LayerRun.objects.search(UNSEEN)
    assert UNSEEN not in everything_stored()
    # By SQL nothing is looked at: what is found there is what this test would miss.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE layer_runs_layerrun SET errors = %s WHERE id = %s", [json.dumps(ERRORS), runs[0]])
    assert UNSEEN in everything_stored()


# --- the count


@pytest.mark.django_db
def test_d28_saving_again_neither_loses_nor_doubles_the_count() -> None:
    run = LayerRunFactory(errors=ERRORS)
    for _ in range(2):
        run.save()
        run = LayerRun.objects.get(pk=run.pk)
        assert run.notes == {"redacted": {"errors": 1}}

    run.errors = ERRORS  # As a pipeline does that keeps its own list.
    run.save()
    assert LayerRun.objects.get(pk=run.pk).notes == {"redacted": {"errors": 1}}

    run.errors = [*run.errors, {"error": f"password={UNSEEN}"}]
    run.save(update_fields=["errors"])
    assert LayerRun.objects.get(pk=run.pk).notes == {"redacted": {"errors": 2}}

    part = LayerRun.objects.for_list().get(pk=run.pk)
    part.save()
    assert LayerRun.objects.get(pk=run.pk).notes == {"redacted": {"errors": 2}}


@pytest.mark.django_db
def test_d28_a_text_that_came_redacted_counts_for_none() -> None:
    run = LayerRunFactory(errors=[{"error": "password=[redacted]"}])
    assert run.notes == {}
    run.errors = [*run.errors, {"error": f"password={UNSEEN}"}]
    run.save()
    assert run.notes == {"redacted": {"errors": 1}}


@pytest.mark.django_db
def test_d28_a_secret_is_no_alteration_and_an_alteration_no_secret() -> None:
    run = LayerRunFactory(errors=[{"error": f"password={UNSEEN}\x00"}], notes={"original_id": "x/y"})
    run.refresh_from_db()
    assert run.notes["redacted"] == {"errors": 1}
    assert run.notes["original_id"] == "x/y"
    long = LlmCallFactory(error_message="x" * 1_990 + f" sk-{RANDOM}")
    long.refresh_from_db()
    assert long.error_message == "x" * 1_990 + " sk-[reda" + "…"


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ({"redacted": {"errors": 1}}, ["1 secret was replaced in errors."]),
        ({"redacted": {"errors": 3}}, ["3 secrets were replaced in errors."]),
        ({"redacted": {"calls": 1_200}}, ["1,200 secrets were replaced in LLM calls."]),
        ({"redacted": {"notes": 2}}, ["2 secrets were replaced in these notes."]),
        ({"redacted": {"errors": 0}}, []),
        ({"redacted": {"else": "<b>"}}, ["else: <b>"]),
        ({"redacted": "text"}, ["redacted: text"]),
    ],
)
def test_d28_notes_say_how_many_secrets_were_replaced(notes: Any, lines: list[str]) -> None:
    assert list(note_lines(notes)) == lines


# --- imports


@pytest.mark.django_db
def test_d28_an_import_replaces_secrets_says_so_and_finds_its_source_unchanged_afterwards(tmp_path) -> None:
    database = ZosTestDatabase(tmp_path / "zos.db")
    database.run("one", errors=json.dumps(ERRORS * 3))
    database.call("one", "call", error_message=f"401: sk-{RANDOM}")
    database.run("two", errors=json.dumps({"token": UNSEEN}))
    database.run("fine")
    before = database.path.read_bytes()

    said = StringIO()
    call_command("import_zos", str(database), stdout=said)  # Exit code 0: a secret makes no run odd.

    assert "3 runs read: 3 new, 0 updated, 0 unchanged, 0 odd, 0 rejected." in said.getvalue()
    assert "\n5 secrets in 2 runs replaced.\n" in said.getvalue()
    assert LayerRun.objects.get(pk="one").notes == {"redacted": {"errors": 3, "calls": 1}}
    assert LayerRun.objects.get(pk="two").notes == {"redacted": {"errors": 1}}
    assert LayerRun.objects.get(pk="fine").notes == {}
    assert LlmCall.objects.get(pk="call").error_message == "401: sk-[redacted]"
    assert UNSEEN not in everything_stored()
    assert database.path.read_bytes() == before

    again = StringIO()
    call_command("import_zos", str(database), stdout=again)
    assert "0 new, 0 updated, 3 unchanged" in again.getvalue()
    call_command("import_zos", str(database), dry_run=True, stdout=again)
    assert "5 secrets in 2 runs would be replaced." in again.getvalue()


@pytest.mark.django_db
def test_d28_what_is_said_of_an_odd_run_holds_no_secret_either(tmp_path) -> None:
    database = ZosTestDatabase(tmp_path / "zos.db")
    database.run(f"password={UNSEEN}", errors=f"{{bad json, sk-{RANDOM}{UNSEEN}" + "x" * 90)
    database.call(database.run("long"), "call", error_message="x" * 1_990 + f" sk-{UNSEEN}")
    said = StringIO()
    for stored in ("2 new, 0 updated, 0 unchanged", "0 new, 0 updated, 2 unchanged"):
        with pytest.raises(CommandError):
            call_command("import_zos", str(database), stdout=said)
        assert stored in said.getvalue()
    assert UNSEEN[:4] not in said.getvalue() + everything_stored()
    run = LayerRun.objects.exclude(pk="long").get()
    assert run.notes["nulled"] == {"errors": "{bad json, sk-[redacted]"}
    assert run.notes["redacted"] == {"notes": 2}
    assert LlmCall.objects.get().error_message == "x" * 1_990 + " sk-[reda" + "…"
    assert LayerRun.objects.get(pk="long").notes == {
        "altered": {"call call: error_message": "cut"},
        "redacted": {"calls": 1},
    }


# --- no false alarm


def test_d28_the_invented_runs_come_back_unchanged() -> None:
    now = datetime.fromisoformat("2026-06-15T12:00:00+00:00")
    texts = {error["error"] for run in invent(now, 60) for error in run.row.errors}
    assert len(texts) > 4
    assert [text for text in texts if redact(text) != (text, 0)] == []


def test_d28_a_real_database_comes_back_unchanged_to_the_letter() -> None:
    path = os.environ.get("ZOS_SAMPLE_DB", "")
    if not path:
        pytest.skip("ZOS_SAMPLE_DB names no real Zos database to compare with")
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as source:
        errors = [
            json.loads(text) for (text,) in source.execute("SELECT errors FROM layer_runs WHERE errors IS NOT NULL")
        ]
        said = [
            text for (text,) in source.execute("SELECT error_message FROM llm_calls WHERE error_message IS NOT NULL")
        ]
    assert errors
    assert said
    assert redact_json(errors) == (errors, 0)
    assert redact_json(said) == (said, 0)
