"""What docs/deploy.md tells people to type is there, and understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from gunicorn.config import Config

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
    lines = typed("gunicorn")
    assert len(lines) == 2
    for line in lines:
        parsed = Config().parser().parse_args(line)
        assert parsed.worker_class == "gthread"
        assert parsed.bind == ["127.0.0.1:8000"]


def test_o01_a_database_in_use_is_never_copied_as_a_file():
    assert "VACUUM INTO" in DEPLOY
    for arguments in typed("cp"):
        assert arguments[0].startswith("/srv/backup/")


def test_every_variable_of_the_document_is_in_the_readme():
    named = set(re.findall(r"\b(DJANGO_[A-Z_]+)\b", DEPLOY)) - {"DJANGO_SETTINGS_MODULE"}
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert len(named) > 5
    assert named <= listed
