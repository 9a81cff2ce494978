"""What docs/deploy.md tells people to type is there, and understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config

MANAGE = "manage.py "
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()


def typed(program: str) -> list[list[str]]:
    """Return the arguments of every line of the document that runs this program."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", DEPLOY, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if re.search(rf"(^|[\s=/]){re.escape(program)} ", line)]
    return [shlex.split(re.split(rf"{re.escape(program)} ", line, maxsplit=1)[1], comments=True) for line in lines]


def test_every_command_of_the_document_exists():
    named = set(re.findall(r"manage\.py ([a-z_]+)", DEPLOY))
    assert {"migrate", "import_zos", "rebuild_derived"} <= named
    assert named <= set(get_commands())


@pytest.mark.parametrize("arguments", typed("manage.py"), ids=" ".join)
def test_the_options_of_every_command_are_understood(arguments):
    name, *options = arguments
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(options)


def test_o05_retention_is_a_part_of_the_installation():
    install = DEPLOY.split("\n## Install\n")[1].split("\n## ")[0]
    assert "how long runs are kept" in install
    assert ["prune_layer_runs", "--keep", "90d", "--keep-failures", "1y"] in typed("manage.py")


def test_the_web_server_knows_the_options_it_is_given():
    typed_in, unit = typed("gunicorn")
    assert typed_in == unit
    parsed = Config().parser().parse_args(unit)
    assert parsed.worker_class == "gthread"
    assert parsed.bind == ["127.0.0.1:8000"]
    assert parsed.control_socket_disable


def test_q15_no_header_tells_the_web_server_where_the_site_is_mounted():
    (said, *_) = {Config().parser().parse_args(line).forwarder_headers for line in typed("gunicorn")}
    config = Config()
    config.set("forwarder_headers", said)
    assert config.forwarder_headers == []


def test_every_command_is_run_by_the_user_of_the_site_in_a_shell_that_knows_its_variables():
    """Each block in which somebody types `manage.py`; the units say it in words of their own."""
    blocks = [block for block in re.findall(r"^```sh\n(.*?)^```", DEPLOY, re.MULTILINE | re.DOTALL) if MANAGE in block]
    assert len(blocks) == 3
    for block in blocks:
        lines = block.splitlines()
        runs = [number for number, line in enumerate(lines) if MANAGE in line]
        assert "set -a; . /etc/layer-runs.env; set +a" in lines[: runs[0]]
        assert all(lines[number].startswith("runuser -u layer-runs -- ") for number in runs)


def test_the_variables_of_the_installation_are_those_of_a_site_in_the_open():
    table = DEPLOY.split("\n## Settings\n")[1].split("\n## ")[0]
    written = re.search(r"<<EOF\n(.*?)^EOF", DEPLOY, re.MULTILINE | re.DOTALL)[1]
    assert re.findall(r"^([A-Z_]+)=", written, re.MULTILINE) == re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)


def test_o01_a_database_in_use_is_never_copied_as_a_file():
    assert "VACUUM INTO" in DEPLOY
    for arguments in typed("cp"):
        assert arguments[0].startswith("/srv/backup/")


def test_every_variable_of_the_document_is_in_the_readme():
    named = set(re.findall(r"\b(DJANGO_[A-Z_]+)\b", DEPLOY)) - {"DJANGO_SETTINGS_MODULE"}
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert len(named) > 5
    assert named <= listed
