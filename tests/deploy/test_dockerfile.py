"""The Dockerfile is clean, and its last stage holds the server and nothing else."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.probes import passes

ROOT = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")
PACKAGES = {
    **{name: name for name in ("app", "handlers", "stores", "schemas")},
    **{f"clients/python/{name}": name for name in ("peersync", "peersync_terminal")},
}
GUIDE = ("docs/*.md", "docs/images")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    keyword: str
    value: str


def stages() -> list[list[Instruction]]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in filter(str.strip, text.splitlines()):
        keyword, _, value = line.partition(" ")
        if keyword == "FROM":
            found.append([])
        found[-1].append(Instruction(keyword, " ".join(value.split())))
    return found


@pytest.fixture
def last() -> list[Instruction]:
    return stages()[-1]


@pytest.fixture
def container() -> dict[str, Any]:
    deployment = yaml.safe_load((ROOT / "deploy/deployment.yaml").read_text())
    spec = deployment["spec"]["template"]["spec"]
    return {"user": spec["securityContext"]["runAsUser"], "ports": spec["containers"][0]["ports"]}


def values(stage: list[Instruction], keyword: str) -> list[str]:
    return [instruction.value for instruction in stage if instruction.keyword == keyword]


def test_hadolint_finds_nothing() -> None:
    """The linter has nothing to say, not even about style."""
    run = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_base_image_is_pinned() -> None:
    """Every stage stands on one slim Python 3.13 image of an exact version."""
    first, *others = [values(stage, "FROM")[0] for stage in stages()]
    assert re.fullmatch(r"python:3\.13\.\d+-slim-\w+ AS base", first)
    assert [other.split()[0] for other in others] == ["base"] * len(others)


def test_dependencies_are_checked_by_hash() -> None:
    """The build stage installs the locked requirements, by hash, into an environment without pip."""
    (command,) = values(stages()[1], "RUN")
    assert "venv --without-pip /opt/venv" in command
    assert "--require-hashes" in command
    assert "requirements/serve.txt /tmp/serve.txt" in values(stages()[1], "COPY")


def test_last_stage_installs_nothing(last: list[Instruction]) -> None:
    """The last stage runs no command, and so neither apt-get nor pip."""
    assert values(last, "RUN") == []
    assert not [value for _, value in last if re.search(r"\b(pip|apt|apt-get)\b", value)]


def test_last_stage_copies_only_the_server(last: list[Instruction]) -> None:
    """The image gets the virtual environment, the packages, what `peer` stands on, and the guide."""
    assert values(last, "COPY") == [
        "--from=build /opt/venv /opt/venv",
        *(f"{source} {name}" for source, name in PACKAGES.items()),
        "docs docs",
    ]
    assert all((ROOT / name / "__init__.py").is_file() for name in PACKAGES)


def test_dockerignore_lets_in_only_what_is_copied() -> None:
    """The build context is a list of what is let in: the requirements, the packages, and the guide."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert [line[1:] for line in lines if line.startswith("!")] == ["requirements/serve.txt", *PACKAGES, *GUIDE]


def test_user_is_a_number_and_not_root(last: list[Instruction], container: dict[str, Any]) -> None:
    """Kubernetes can tell from the number that the user is not root, and it is the Deployment's."""
    (user,) = values(last, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert user.partition(":")[0] == str(container["user"])


def test_environment(last: list[Instruction]) -> None:
    """The image is for production, and its Python is that of the virtual environment."""
    (line,) = values(last, "ENV")
    assert dict(pair.split("=", 1) for pair in shlex.split(line)) == {
        "PATH": "/opt/venv/bin:$PATH",
        "APP_ENV": "production",
        "LOG_FORMAT": "json",
        "STORE_URL": "memory://",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_start_and_stop(last: list[Instruction], container: dict[str, Any]) -> None:
    """The image serves, on the Deployment's port, until SIGTERM reaches Python itself."""
    assert json.loads(values(last, "ENTRYPOINT")[0]) == ["python", "-m", "app"]
    assert json.loads(values(last, "CMD")[0]) == ["serve"]
    assert values(last, "STOPSIGNAL") == ["SIGTERM"]
    assert values(last, "EXPOSE") == [str(port["containerPort"]) for port in container["ports"]]


def test_healthcheck(last: list[Instruction]) -> None:
    """The health check asks this container for /health/live, over TLS only where there is a certificate."""
    (line,) = values(last, "HEALTHCHECK")
    python, option, program = json.loads(line.partition(" CMD ")[2])
    assert (python, option) == ("python", "-c")
    assert "'/health/live'" in program
    for tls in ({}, {"TLS_CERT_PATH": ""}, {"TLS_CERT_PATH": " "}):
        assert passes(program, 200, PORT="{port}", **tls)
    assert not passes(program, 503, PORT="{port}")
    assert not passes(program, 200, PORT="{port}", TLS_CERT_PATH="cert.pem")
