"""The benchmark measures what it says, in small: its figures are for no one, its ways are those of the real run."""

import xml.etree.ElementTree

import pytest

from bench import candidates, closed, idle, machine, opened, people, plot, publish, report, sweeps, work


class Unhurried:
    """A clock that allows everything."""

    def allows(self, seconds):
        return True

    def tell(self, text):
        print(text)


@pytest.fixture(scope="module")
def cores():
    return machine.Cores()


@pytest.fixture(scope="module")
def stores(cores):
    made = candidates.Stores(cores)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def document(cores, stores, tmp_path_factory):
    """What a run of everything leaves behind: mitrad and the constant, some connections, some tenths of a second."""
    end = work.ONLINE + max(work.CONNECTIONS)
    database = stores.database()
    people.fill_truth(database, 0, end, work.ONLINE)
    among = [candidates.MitradCandidate(stores, cores, database), candidates.EvhttpConstant(cores)]
    works = work.standard()
    with candidates.running(among):
        closed_results = closed.measure(Unhurried(), cores, among, works, (64,), rounds=2, seconds=0.3)
        summary = report.closed_summary(closed_results)
        opened_results = opened.measure(Unhurried(), cores, among, works[0], [], rounds=1, seconds=0.3)
        held = idle.measure(Unhurried(), cores, among, works[0], 200)
    document = {
        "machine": machine.facts(),
        "placement": cores.describe(),
        "quick": True,
        "versions": candidates.versions(),
        "left_out": [],
        "cut_short": [],
        "titles": {one.name: one.title for one in among},
        "works": {one.name: one.title for one in works},
        "closed": summary,
        "opened": report.opened_summary(opened_results),
        "idle": held,
        "sweeps": sweeps.measure(Unhurried(), cores, stores, (50,), seconds=0.3),
    }
    return {**document, "tables": report.tables(document)}


def test_every_work_of_every_candidate_is_measured(document):
    measured = {(cell["work"], cell["candidate"]) for cell in document["closed"]}
    assert measured == {(kind, "mitrad") for kind in document["works"]} | {("heartbeat", "evhttp")}
    for cell in document["closed"] + document["opened"]:
        assert cell["rate"] > 0 and cell["cpu_us"]["worker"] > 0
        assert cell["p50_us"] <= cell["p99_us"] <= cell["p999_us"]
        if cell.get("work") != "toggle":
            assert cell["refused_share"] == 0


def test_a_sweep_is_found_in_the_trace_of_its_process(document):
    (one,) = document["sweeps"]
    assert one["online"] == 50 and one["blast"]["p50_ms"] > 0
    for name in sweeps.PASSES:
        assert one[name]["seconds"] < 60


def test_idle_connections_were_held(document):
    assert {one["candidate"]: one["many"] for one in document["idle"]} == {"mitrad": 200, "evhttp": 200}


def test_plots_are_svg_and_tables_are_quoted_by_name(document, tmp_path):
    report.write(tmp_path, document)
    plot.write(tmp_path, document)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.md", "cpu.svg", "rates.svg", "growth.svg"}
    for path in tmp_path.glob("*.svg"):
        assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")
    page = "# A\n<!-- measured: short -->\nold\n<!-- measured end -->\n<!-- measured: other -->\nkept\n<!-- measured end -->\n"
    quoted = publish.quoted(page, document["tables"])
    assert document["tables"]["short"] in quoted and "old" not in quoted and "kept" in quoted
    assert publish.quoted(quoted, document["tables"]) == quoted
