"""What a machine can check of the style in CONTRIBUTING.md."""

import re
import shutil
import subprocess

import pytest

from harness import program
from harness.sources import read, tracked

LONGEST_FILE_LINES = 600
# Where every row stands for itself, length says nothing.
TABLES = (".def", ".md", ".json", ".yaml", ".yml")
CORPUS = "test/fuzz/corpus/"


def shell_scripts():
    return [path for path in tracked("*") if re.match(r"#!/bin/(ba)?sh\b", read(path)[:20])]


def run(*command):
    done = subprocess.run(command, cwd=program.REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_c_files_are_formatted():
    formatter = shutil.which("clang-format")
    if formatter is None:
        pytest.skip("clang-format is not installed")
    version = subprocess.run([formatter, "--version"], capture_output=True, text=True, check=True).stdout
    # One version does not format as the next does; the base is Debian 12's.
    if re.search(r"version (\d+)", version)[1] != "14":
        pytest.skip(f"clang-format 14 is the judge, this is {version.strip()}")
    run(formatter, "--dry-run", "--Werror", *tracked("*.c", "*.h"))


def test_shell_scripts_are_well_formed():
    assert shell_scripts()
    for path in shell_scripts():
        run("sh", "-n", path)


def test_shell_scripts_pass_shellcheck():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    run("shellcheck", "--external-sources", *shell_scripts())


def test_python_files_compile():
    for path in tracked("*.py"):
        compile(read(path), path, "exec")


def test_nothing_is_marked_as_unfinished():
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    assert [path for path in tracked("*") if marks.search(read(path))] == []


def test_files_have_one_subject():
    too_long = {
        path: lines
        for path in tracked("*")
        if not path.endswith(TABLES) and not path.startswith(CORPUS) and (lines := read(path).count("\n")) > LONGEST_FILE_LINES
    }
    assert not too_long


def test_no_package_mirror_is_named():
    """Where packages come from is the machine's business."""
    hosts = re.compile(r"\b[\w.-]*(debian\.(org|net)|ubuntu\.com|pypi\.org|pythonhosted|npmjs)\b")
    assert [path for path in tracked("*") if path != "test/lint/test_style.py" and hosts.search(read(path))] == []
