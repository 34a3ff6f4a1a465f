"""docs/api.md names every route, body and problem as the tables have them, and nothing else."""

import re

from harness.sources import read

PAGE = "docs/api.md"
SECTIONS = {"BOTH": "Both listeners", "PUBLIC": "Public listener", "INTERNAL": "Internal listener"}
WHO = {"VISITOR": "anyone, or a customer"}
OPTIONAL = ("OPTIONAL", "FREE")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", read(PAGE), re.MULTILINE | re.DOTALL)[1]


def rows(title):
    """The cells of each row but the head."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ") and "`" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def bodies():
    """As the page writes them."""
    written = {"NONE": "", "ANY_OBJECT": "any object"}
    for name, fields in re.findall(r"^BODY\((\w+)\)\n((?:FIELD\(.*\)\n)+)", read("server/bodies.def"), re.MULTILINE):
        members = re.findall(r"FIELD\((\w+), \w+, (\w+)\)", fields)
        written[name] = "`{" + ", ".join(key + "?" * (presence in OPTIONAL) for key, presence in members) + "}`"
    return written


def test_every_route_is_documented_with_its_body_and_its_callers():
    body_of = bodies()
    routes = re.findall(
        r'^ROUTE\((\w+), "([^"]+)", \w+, (\w+), (\w+), (\w+)\)', read("server/routes.def"), re.MULTILINE
    )
    assert len(routes) == read("server/routes.def").count("\nROUTE(")
    wanted = {
        (SECTIONS[listener], method, path, body_of[body], WHO.get(caller, caller.lower()))
        for method, path, listener, caller, body in routes
    }
    told = set()
    for title in SECTIONS.values():
        for route, body, who, answer in rows(title):
            method, path = re.fullmatch(r"(\w+) `([^`]+)`", route).groups()
            assert answer, route
            told.add((title, method, re.sub(r"\{\w+\}", "{}", path), body, who))
    assert sorted(wanted - told) == []
    assert sorted(told - wanted) == []


def problems():
    return re.findall(r'^PROBLEM\((\w+), (\d+), "[^"]*", "([^"]*)", \d+\)', read("server/problems.def"), re.MULTILINE)


def test_every_problem_is_documented_as_it_is_answered():
    assert len(problems()) == read("server/problems.def").count("\nPROBLEM(")
    told = [(code.strip("`"), status, detail) for code, status, detail in rows("Problems")]
    assert told == problems()


def test_every_refusal_of_the_gate_is_documented():
    row = r'^REFUSAL\(\w+, (\d+), "[^"]*", "(\w+)"'
    answered = set(re.findall(row, read("server/gate/framing_refusals.def"), re.MULTILINE))
    routes_too = {(status, code) for code, status, _ in problems()}
    told = {(status, code.strip("`")) for code, status, _ in rows("Before any route")}
    assert told == answered - routes_too
    assert all(f"`{code}`" in section("Before any route") for _, code in answered)


def test_no_problem_is_promised_that_does_not_exist():
    known = {code for code, _, _ in problems()}
    promised = {
        code
        for title in SECTIONS.values()
        for *_, answer in rows(title)
        for code in re.findall(r"`([A-Z]+_?[A-Z_]+)`", answer)
    }
    settings = set(re.findall(r"^SETTING\(\w+, \w+, (\w+),", read("common/settings.def"), re.MULTILINE))
    assert promised - known - settings == set()
