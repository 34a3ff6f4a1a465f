"""The manual page is well formed and leaves nothing out; the documents' links lead somewhere."""

import os
import re
import shutil
import subprocess

import pytest

from harness import program
from harness.sources import read, tracked

PAGE = "docs/mitrad.8"


def entries(section):
    """The bold words of a section of the page."""
    text = re.search(rf'^\.SH "?{section}"?\n(.*?)(?=^\.SH |\Z)', read(PAGE), re.MULTILINE | re.DOTALL)[1]
    tagged = re.findall(r"^\.TP\n\.B[IR]* (.*)$", text, re.MULTILINE)
    return {word.replace("\\-", "-") for line in tagged for word in re.findall(r"[\w\\-]+", line)}


def test_the_manual_page_formats_without_a_warning():
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""}
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-l", os.path.join(program.REPOSITORY, PAGE)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "mitrad" in done.stdout


def test_the_manual_page_has_every_command():
    told = re.findall(r"^  (\w+) ", program.run("help", check=True).stdout, re.MULTILINE)
    assert len(told) >= 10
    assert set(told) <= entries("COMMANDS")


def test_the_manual_page_has_every_setting_and_no_other():
    known = set(re.findall(r"^SETTING\(\w+, \w+, (\w+),", read("common/settings.def"), re.MULTILINE))
    assert entries("ENVIRONMENT") - {"PORT", "NOTIFY_SOCKET", "WATCHDOG_USEC"} == known


def test_links_between_the_documents_lead_somewhere():
    broken = []
    for path in tracked("docs/*.md", "CONTRIBUTING.md"):
        for target, section in re.findall(r"\]\(([^)#:]*)(?:#([\w-]+))?\)", read(path)):
            where = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
            if not os.path.exists(os.path.join(program.REPOSITORY, where)):
                broken.append(f"{path}: {target}")
            elif section and section not in anchors(where):
                broken.append(f"{path}: {target}#{section}")
    assert broken == []


def anchors(path):
    titles = re.findall(r"^#+ (.+)$", read(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_operators_page_names_only_files_that_exist():
    named = set(re.findall(r"`?\b(deploy/[\w./-]+\w)", read("docs/operations.md") + read("README.md")))
    assert named
    assert [path for path in named if not os.path.exists(os.path.join(program.REPOSITORY, path))] == []
