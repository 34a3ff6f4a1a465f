"""Plots as SVG, written by hand: bars and lines on logarithmic scales, for the times span five orders of magnitude."""

import math
import os
from xml.sax.saxutils import escape

COLOURS = {
    "mitrad": "#1b6ca8",
    "peer": "#d1495b",
    "peer-tuned": "#e8a33d",
    "evhttp": "#7a7a7a",
    "nginx": "#b5b5b5",
}
LINES = ("#1b6ca8", "#d1495b", "#e8a33d", "#3a7d44", "#6b4c9a")
FONT = 'font-family="sans-serif" font-size="12"'
WIDTH = 760


def _number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Drawing:
    def __init__(self, title, height):
        self.height = height
        self.parts = []
        self.text(WIDTH / 2, 22, title, anchor="middle", size=15)

    def text(self, x, y, said, anchor="start", size=12, colour="#222"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(said)}</text>'
        )

    def line(self, x1, y1, x2, y2, colour="#ddd", width=1):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )

    def box(self, x, y, width, height, colour):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:.0f}" width="{WIDTH}" {FONT}>\n'
                f'<rect width="{WIDTH}" height="{self.height:.0f}" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
            )


class Scale:
    """Logarithmic, from the decade below the least to the one above the greatest."""

    def __init__(self, values, begin, end):
        self.least = math.floor(math.log10(min(values)))
        self.most = max(math.ceil(math.log10(max(values))), self.least + 1)
        self.begin, self.end = begin, end

    def at(self, value):
        share = (math.log10(value) - self.least) / (self.most - self.least)
        return self.begin + share * (self.end - self.begin)

    def decades(self):
        return [10.0**power for power in range(self.least, self.most + 1)]


def bars(path, title, groups):
    """`groups`: [(label, [(text, value, colour)])]; one bar a row."""
    height = 60 + sum(24 + 20 * len(rows) for _, rows in groups)
    drawing = Drawing(title, height)
    scale = Scale([value for _, rows in groups for _, value, _ in rows], 190, WIDTH - 70)
    for decade in scale.decades():
        drawing.line(scale.at(decade), 34, scale.at(decade), height - 20)
        drawing.text(scale.at(decade), height - 6, _number(decade), anchor="middle", size=11, colour="#666")
    y = 40
    for label, rows in groups:
        y += 16
        drawing.text(10, y, label, size=13)
        y += 8
        for said, value, colour in rows:
            drawing.box(scale.begin, y, scale.at(value) - scale.begin, 15, colour)
            drawing.text(scale.begin - 8, y + 12, said, anchor="end")
            drawing.text(scale.at(value) + 5, y + 12, _number(value))
            y += 20
    drawing.save(path)


def lines(path, title, horizontal, series):
    """`series`: [(label, [(x, y)])], both axes logarithmic; `horizontal` names the x axis."""
    drawing = Drawing(title, 420)
    points = [point for _, line in series for point in line]
    across = Scale([x for x, _ in points], 70, WIDTH - 190)
    up = Scale([y for _, y in points], 360, 45)
    for decade in across.decades():
        drawing.line(across.at(decade), 45, across.at(decade), 360)
        drawing.text(across.at(decade), 378, _number(decade), anchor="middle", size=11, colour="#666")
    for decade in up.decades():
        drawing.line(70, up.at(decade), WIDTH - 190, up.at(decade))
        drawing.text(62, up.at(decade) + 4, _number(decade), anchor="end", size=11, colour="#666")
    drawing.text((70 + WIDTH - 190) / 2, 402, horizontal, anchor="middle")
    for number, (label, line) in enumerate(series):
        colour = LINES[number % len(LINES)]
        for (x1, y1), (x2, y2) in zip(line, line[1:]):
            drawing.line(across.at(x1), up.at(y1), across.at(x2), up.at(y2), colour, 2)
        for x, y in line:
            drawing.dot(across.at(x), up.at(y), colour)
        drawing.box(WIDTH - 175, 60 + 22 * number, 12, 12, colour)
        drawing.text(WIDTH - 157, 71 + 22 * number, label)
    drawing.save(path)


def _closed(directory, document):
    groups = []
    for kind, title in document["works"].items():
        rows = [
            (document["titles"][cell["candidate"]], cell["cpu_us"]["worker"], COLOURS[cell["candidate"]])
            for cell in document["closed"]
            if (cell["work"], cell["connections"]) == (kind, 64)
        ]
        if rows:
            groups.append((title, rows))
    if groups:
        bars(os.path.join(directory, "cpu.svg"), "Server's CPU µs per request, 64 connections", groups)


def _opened(directory, document):
    groups = []
    for what, read in (("CPU µs", lambda cell: cell["cpu_us"]["worker"]), ("p99, µs", lambda cell: cell["p99_us"])):
        for rate in dict.fromkeys(cell["asked"] for cell in document["opened"]):
            rows = [
                (document["titles"][cell["candidate"]], read(cell), COLOURS[cell["candidate"]])
                for cell in document["opened"]
                if cell["asked"] == rate
            ]
            if isinstance(rate, int):
                groups.append((f"{rate:,} heartbeats/s: {what}", rows))
    if groups:
        bars(os.path.join(directory, "rates.svg"), "Heartbeats at a given rate", groups)


def _sweeps(directory, document):
    def line(read):
        return [(one["online"], max(read(one), 0.1)) for one in document["sweeps"]]

    if document["sweeps"]:
        lines(
            os.path.join(directory, "growth.svg"),
            "Time in ms",
            "mitras online",
            [
                ("auto-offline check", line(lambda one: 1000 * one["auto_offline"]["seconds"])),
                ("heartbeat mirror", line(lambda one: 1000 * one["heartbeats"]["seconds"])),
                ("reseed", line(lambda one: 1000 * one["reseed"]["seconds"])),
                ("blast read of 50", line(lambda one: one["blast"]["p50_ms"])),
                ("beacon, recomputed", line(lambda one: one["beacon_ms"])),
            ],
        )


def write(directory, document):
    _closed(directory, document)
    _opened(directory, document)
    _sweeps(directory, document)
