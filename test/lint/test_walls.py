"""Who may know whom: the walls between the parts of the program."""

import re

import pytest

from harness.sources import code, read, tracked

# Each part, and what its files may not include.
FORBIDDEN = {
    "common": ("server/", "sweeper/", "schema/"),
    "server": ("sweeper/",),
    "sweeper": ("server/", "schema/"),
    "schema": ("server/", "sweeper/"),
}

MIRROR_KEYS = re.compile(r"mitras:(online|deactivated)|mitra:capacity")
# A command's name as our sources write it: in quotes, alone or with its arguments.
WRITES = re.compile(
    r"""["'](SET|SETEX|SETNX|PSETEX|GETSET|GETDEL|INCR|INCRBY|DECR|DECRBY|DEL|UNLINK|EXPIRE|RENAME|COPY"""
    r"""|SADD|SREM|SMOVE|SPOP|SINTERSTORE|SUNIONSTORE|SDIFFSTORE)\b"""
)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_a_part_includes_only_what_it_may_know(part):
    wrong = []
    for path in tracked(f"{part}/**.c", f"{part}/**.h", f"{part}/**.def"):
        for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', read(path), re.MULTILINE):
            if included.startswith(FORBIDDEN[part]):
                wrong.append(f"{path} includes {included}")
    assert not wrong


def test_includes_are_written_from_the_top_of_the_repository():
    wrong = []
    for path in tracked("*.c", "*.h"):
        if not path.startswith(tuple(FORBIDDEN)):
            continue
        for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', read(path), re.MULTILINE):
            if "/" not in included or included.startswith("."):
                wrong.append(f"{path} includes {included}")
    assert not wrong


def test_only_the_mirror_writes_the_mirrors_keys():
    wrong = []
    for path in tracked("common/**", "server/**", "sweeper/**", "schema/**"):
        if path.startswith("common/mirror"):
            continue
        for number, line in code(path):
            if MIRROR_KEYS.search(line) and WRITES.search(line):
                wrong.append(f"{path}:{number}: {line.strip()}")
    assert not wrong
