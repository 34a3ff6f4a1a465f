"""Every code that the server can answer with is provoked by a test."""

import re

from harness.sources import read, tracked


def test_every_problem_is_asked_for_by_a_test():
    codes = re.findall(r"^PROBLEM\((\w+),", read("server/problems.def"), re.MULTILINE)
    tests = "".join(read(path) for path in tracked("test/*.py") if not path.startswith("test/lint/"))
    assert codes and [code for code in codes if f'"{code}"' not in tests] == []
