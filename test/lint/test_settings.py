"""The settings: one table, and everything that is said about them follows from it."""

import re

from harness import program
from harness.sources import read


def settings():
    return re.findall(r"^SETTING\(\w+, \w+, (\w+),", read("common/settings.def"), re.MULTILINE)


def test_every_setting_is_documented():
    documented = read("docs/settings.md")
    assert settings()
    assert [name for name in settings() if f"`{name}`" not in documented] == []


def test_the_page_of_settings_is_what_the_program_prints():
    printed = program.run("settings", check=True).stdout
    assert printed == read("docs/settings.md"), "run: build/server/mitrad settings > docs/settings.md"
