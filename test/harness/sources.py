"""The repository's own files, for the tests that read them."""

import fnmatch
import functools
import os
import re
import subprocess

from .program import REPOSITORY


@functools.cache
def _all():
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.splitlines() if os.path.isfile(os.path.join(REPOSITORY, path))]


def tracked(*patterns):
    """Paths (from the repository's top) that match one of the patterns; `*` matches slashes too."""
    return [path for path in _all() if any(fnmatch.fnmatch(path, pattern) for pattern in patterns)]


@functools.cache
def read(path):
    """A file's text; of a binary file whatever it gives."""
    with open(os.path.join(REPOSITORY, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def code(path):
    """(number, line) of each line, with the comments of C, SQL and Lua taken out."""
    text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), read(path), flags=re.DOTALL)
    text = re.sub(r"(//|--).*", "", text)
    return list(enumerate(text.splitlines(), 1))
