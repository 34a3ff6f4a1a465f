"""The command line: what cannot be run says why in its first line, exits with 2, and has done nothing."""

import re

import pytest

from harness import program
from harness.sources import read

COMMANDS = re.findall(r'^\t\{ "(\w+)", ', read("server/main.c"), re.MULTILINE)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("frobnicate", "frobnicate: no such command"),
        ("--frobnicate", "--frobnicate: no such option"),
        ("--config", "--config: its value is missing"),
        ("check --config", "--config: its value is missing"),
        ("serve --role", "--role: its value is missing"),
        ("serve --role everything", "--role everything: no such role"),
        ("--role= serve", "--role : no such role"),
        ("version twice", "version: too many arguments"),
        ("check twice", "check: too many arguments"),
        ("mirror", "mirror: needs verify|diff|reseed"),
        ("mirror mend", "mirror mend: no such command"),
    ],
)
def test_a_wrong_command_line_is_told_from_a_right_one(line, complaint):
    done = program.run(*line.split(), settings={"DATABASE_URL": "dbname=nothing"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"mitrad: {complaint}"


@pytest.mark.parametrize("line", ["help", "--help", "-h"])
def test_help_names_every_command(line):
    done = program.run(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert COMMANDS and all(re.search(rf"^  {command}\b", done.stdout, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize("line", ["version", "--version"])
def test_the_version_comes_with_those_of_the_libraries(line):
    done = program.run(line)
    assert done.returncode == 0
    words = [one.split()[0] for one in done.stdout.splitlines()]
    assert words == ["mitrad", "libevent", "libpq", "hiredis", "yajl", "libjwt", "OpenSSL", "libcurl"]
