"""What was measured: medians, JSON for machines, and Markdown tables for people."""

import json
import os
import statistics


def median(rounds, read):
    return statistics.median(read(one) for one in rounds)


def spread(rounds, read):
    """Half of what lies between the least and the greatest, in percent of the median; None of one round."""
    values = [read(one) for one in rounds]
    middle = statistics.median(values)
    return None if len(values) < 2 or middle == 0 else 50 * (max(values) - min(values)) / middle


def _summary(rounds):
    return {
        "rounds": len(rounds),
        "cpu_us": {
            name: median(rounds, lambda one, name=name: one["cpu_us"][name]) for name in rounds[0]["cpu_us"]
        },
        "worker_spread_percent": spread(rounds, lambda one: one["cpu_us"]["worker"]),
        **{
            name: median(rounds, lambda one, name=name: one[name])
            for name in ("rate", "refused_share", "p50_us", "p99_us", "p999_us")
        },
    }


def closed_summary(results):
    return [
        {"work": kind, "connections": connections, "candidate": candidate, **_summary(rounds)}
        for (kind, connections, candidate), rounds in results.items()
    ]


def opened_summary(results):
    return [
        {"asked": label, "candidate": candidate, **_summary(rounds)}
        for (label, candidate), rounds in results.items()
    ]


def number(value):
    """Three digits are as much as a benchmark knows."""
    if value is None:
        return "–"
    if value >= 99.5:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _cpu(cell):
    off = cell["worker_spread_percent"]
    return number(cell["cpu_us"]["worker"]) + (f" ± {off:.0f} %" if off is not None else "")


def _rate(cell):
    refused = cell["refused_share"]
    return number(cell["rate"]) + (f" ({refused:.0%} refused)" if refused >= 0.005 else "")


def closed_table(document, connections):
    rows = []
    for kind, title in document["works"].items():
        for cell in document["closed"]:
            if (cell["work"], cell["connections"]) == (kind, connections):
                cpu = cell["cpu_us"]
                rows.append(
                    [
                        f"{title}: {document['titles'][cell['candidate']]}" if "valkey" in cpu else document["titles"][cell["candidate"]],
                        _cpu(cell),
                        number(cpu.get("valkey")),
                        number(cpu.get("postgres")),
                        _rate(cell),
                        number(cell["p99_us"] / 1000),
                    ]
                )
    head = [f"{connections:,} connections", "CPU µs", "Valkey", "PostgreSQL", "requests/s", "p99 ms"]
    return table(head, rows)


def opened_table(document):
    rows = [
        [
            document["titles"][cell["candidate"]],
            f"{cell['asked']:,}/s" if isinstance(cell["asked"], int) else f"{cell['asked']}: {number(cell['rate'])}/s",
            _cpu(cell),
            number(cell["p50_us"] / 1000),
            number(cell["p99_us"] / 1000),
            number(cell["p999_us"] / 1000),
        ]
        for cell in document["opened"]
    ]
    return table(["heartbeats at a given rate", "rate", "CPU µs", "p50 ms", "p99 ms", "p99.9 ms"], rows)


def idle_table(document):
    rows = [
        [
            document["titles"][one["candidate"]],
            number(one["few_kib"] / 1024),
            number(one["many_kib"] / 1024),
            number(one["each_kib"]),
        ]
        for one in document["idle"]
    ]
    many = document["idle"][0]["many"] if document["idle"] else 0
    return table(["memory", "MiB with 64", f"MiB with {many:,}", "KiB a connection"], rows)


def _pass(one, name):
    took = one[name]
    beat = number(took["heartbeat_p99_ms"])
    return f"{number(1000 * took['seconds'])} / {number(1000 * took['cpu_seconds'])} / {beat}"


def _slowest(found):
    return "–" if found is None else number(found[0])


def sweeps_table(document):
    head = ["mitras online"] + [f"{one['online']:,}" for one in document["sweeps"]]
    lines = [
        ("auto-offline check: ms / CPU ms / heartbeat p99 ms", lambda one: _pass(one, "auto_offline")),
        ("heartbeat mirror: the same", lambda one: _pass(one, "heartbeats")),
        ("reseed: the same", lambda one: _pass(one, "reseed")),
        ("heartbeat p99 ms in calm", lambda one: number(one["calm_p99_ms"])),
        ("sweeper's peak memory, MiB", lambda one: number(max(one["peak_mib"], one["seed_peak_mib"]))),
        ("longest Valkey command in the passes, ms", lambda one: _slowest(one["slowest"])),
        ("blast read, 50 mitras: p50 ms / CPU ms", lambda one: f"{number(one['blast']['p50_ms'])} / {number(one['blast']['cpu_ms'])}"),
        ("longest Valkey command in the blast read, ms", lambda one: _slowest(one["blast"]["slowest"])),
        ("beacon, recomputed: ms", lambda one: number(one["beacon_ms"])),
        ("start to ready, with a seed: s", lambda one: number(one["start_seconds"])),
    ]
    return table(head, [[title] + [read(one) for one in document["sweeps"]] for title, read in lines])


def short_table(document):
    """The first lines, for the front page: CPU time per request at 64 connections, one column a candidate."""
    among = list(document["titles"])
    cells = {(cell["work"], cell["candidate"]): cell for cell in document["closed"] if cell["connections"] == 64}
    rows = []
    for kind, title in document["works"].items():
        found = [cells.get((kind, name)) for name in among]
        rows.append([title] + [number(cell["cpu_us"]["worker"]) if cell else "" for cell in found])
    return table(["server's CPU µs per request"] + [document["titles"][name] for name in among], rows)


def about(document):
    """Where and when: a paragraph."""
    of = document["machine"]
    said = [
        f"Measured on {of['date']} on {of['cores']} cores of an {of['cpu']} with {of['memory_gib']} GiB, Linux {of['kernel']}"
        f" (load average at the start {of['load_average']}): {document['placement']}.",
        "Versions: " + "; ".join(document["versions"].values()) + ".",
    ]
    if document["quick"]:
        said.append("This was the quick run: one round, rough numbers.")
    said += [f"Left out: {what}." for what in document["left_out"]]
    if document["cut_short"]:
        said.append(f"Cut short, as the time was over: {', '.join(document['cut_short'])}.")
    return "\n".join(said)


def tables(document):
    """{name: Markdown}: the blocks that pages quote."""
    found = {"about": about(document)}
    if document["closed"]:
        found["short"] = short_table(document)
        found["closed-64"] = closed_table(document, 64)
        found["closed-2000"] = closed_table(document, 2000)
    if document["opened"]:
        found["opened"] = opened_table(document)
    if document["idle"]:
        found["idle"] = idle_table(document)
    if document["sweeps"]:
        found["sweeps"] = sweeps_table(document)
    return found


def write(directory, document):
    with open(os.path.join(directory, "results.json"), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")
    with open(os.path.join(directory, "results.md"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(document["tables"].values()) + "\n")
