"""
The measured tables and plots, put where people read them: a number in the documents is one that the benchmark printed.

A page quotes a table by a pair of lines, `<!-- measured: NAME -->` and `<!-- measured end -->`; what stands between them is
replaced.  NAME is one of report.tables().
"""

import os
import re
import shutil

PAGES = ("README.md", os.path.join("docs", "performance.md"))
PLOTS = os.path.join("docs", "plots")
QUOTED = re.compile(r"(<!-- measured: (\S+) -->\n)(.*?)(<!-- measured end -->)", re.DOTALL)


def quoted(page, tables):
    """The page with what was measured; a table that was not measured this time stays as it is."""

    def replaced(match):
        begin, name, old, end = match.groups()
        return begin + (f"{tables[name]}\n" if name in tables else old) + end

    return QUOTED.sub(replaced, page)


def publish(repository, results, tables):
    for name in PAGES:
        path = os.path.join(repository, name)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(quoted(page, tables))
    os.makedirs(os.path.join(repository, PLOTS), exist_ok=True)
    for name in os.listdir(results):
        if name.endswith(".svg"):
            shutil.copy(os.path.join(results, name), os.path.join(repository, PLOTS, name))
