"""What was measured, as JSON for machines and as Markdown tables for people."""

import json
import statistics


def median(rounds, read):
    return statistics.median(read(one) for one in rounds)


def spread(rounds, read):
    """Half of what lies between the least and the greatest, in percent of the median; None of one round."""
    values = [read(one) for one in rounds]
    middle = statistics.median(values)
    return None if len(values) < 2 or middle == 0 else 50 * (max(values) - min(values)) / middle


def number(value):
    """Three digits are as much as a benchmark knows."""
    if value is None:
        return "–"
    if value >= 99.5:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def closed_summary(results):
    """One entry for each cell: medians, and the spread of the worker's CPU."""
    summary = []
    for (kind, connections, candidate), rounds in results.items():
        cpu = {
            name: median(rounds, lambda one, name=name: one["cpu_us"].get(name, 0.0)) for name in rounds[0]["cpu_us"]
        }
        summary.append(
            {
                "work": kind,
                "connections": connections,
                "candidate": candidate,
                "rounds": len(rounds),
                "cpu_us": cpu,
                "worker_spread_percent": spread(rounds, lambda one: one["cpu_us"]["worker"]),
                "rate": median(rounds, lambda one: one["rate"]),
                "refused_share": median(rounds, lambda one: one["refused_share"]),
                "p50_us": median(rounds, lambda one: one["p50_us"]),
                "p99_us": median(rounds, lambda one: one["p99_us"]),
            }
        )
    return summary


def closed_table(summary, titles, works, connections):
    rows = []
    for kind in works:
        for cell in summary:
            if cell["work"] != kind.name or cell["connections"] != connections:
                continue
            cpu = cell["cpu_us"]
            off = cell["worker_spread_percent"]
            rows.append(
                [
                    f"{kind.title if not titles[cell['candidate']][1] else 'anything'}: {titles[cell['candidate']][0]}",
                    number(cpu["worker"]) + (f" ± {off:.0f} %" if off is not None else ""),
                    number(cpu.get("valkey")),
                    number(cpu.get("postgres")),
                    number(cell["rate"]) + (f", {cell['refused_share']:.0%} refused" if cell["refused_share"] else ""),
                    number(cell["p99_us"] / 1000),
                ]
            )
    head = [f"{connections:,} connections", "server, CPU µs", "Valkey, CPU µs", "PostgreSQL, CPU µs", "requests/s", "p99 ms"]
    return table(head, rows)


def write_json(path, document):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")
