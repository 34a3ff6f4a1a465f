"""What watches mitrad is understood by its tools, asks for metrics that exist, and says what to do."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from harness import program, scratch
from harness.sources import read

RULES = "deploy/observability/alerts.yml"
DASHBOARD = "deploy/observability/dashboard.json"
# Functions, keywords and labels have other names.
METRIC = re.compile(r"\bmitrad_[a-z0-9_]+")


def promtool(*arguments, cwd=None, stdin=None):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=cwd or program.REPOSITORY,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts():
    return [rule for group in yaml.safe_load(read(RULES))["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in json.loads(read(DASHBOARD))["panels"] if panel["type"] != "row"]


def expressions():
    return [alert["expr"] for alert in alerts()] + [
        target["expr"] for panel in panels() for target in panel["targets"]
    ]


def test_prometheus_accepts_its_files():
    promtool("check", "config", "deploy/observability/prometheus.yml")


def test_the_alerts_fire_when_they_should_and_only_then():
    directory = scratch.directory("alerts")
    for path in (RULES, "test/operate/alerts_test.yml"):
        shutil.copy(os.path.join(program.REPOSITORY, path), directory)
    promtool("test", "rules", "alerts_test.yml", cwd=directory)


def test_the_metrics_follow_prometheus_conventions_and_have_all_that_is_asked_for(mitrad, until):
    # A status and a duration exist once there was such an answer; the numbers are a second old.
    until(lambda: "http_responses_total{" in mitrad.internal.get("/metrics").text, what="the first answers to be counted")
    text = mitrad.internal.get("/metrics").text
    known = set(re.findall(r"^(mitrad_[a-z0-9_]+)", text, re.MULTILINE))
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(asked) > 20
    assert asked - known == set()
    promtool("check", "metrics", stdin=text)


def test_every_alert_has_its_paragraph_in_the_runbook():
    sections = re.findall(r"^## (\w+)\n\n(.+?)(?=\n## |\Z)", read("docs/runbook.md"), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == [alert["alert"] for alert in alerts()]
    assert all(len(text) > 200 for _, text in sections)


def test_every_alert_points_to_its_paragraph_and_says_how_urgent_it_is():
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("page", "ticket")


def test_the_dashboards_panels_do_not_overlap():
    taken = set()
    for panel in json.loads(read(DASHBOARD))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    numbers = [panel["id"] for panel in json.loads(read(DASHBOARD))["panels"]]
    assert len(set(numbers)) == len(numbers)
