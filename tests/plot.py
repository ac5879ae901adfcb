#!/usr/bin/env python3
"""plot.py soak TABLE.csv OUT.svg: draws what `make soak` measured.
plot.py link OUT.svg: draws a run of a model of a link, which `make plots` passes on standard input.

One panel for each figure, over the same time axis."""

import csv
import re
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 96, 64, 28, 34
SOAK = [
    ("viewers", [("viewers", "#4477aa")]),
    ("memory, MB", [("resident_mb", "#228833")]),
    ("descriptors", [("descriptors", "#aa3377")]),
    ("threads", [("threads", "#ccbb44")]),
    ("delay, ms: half of all, and 95 %", [("delay_p95_ms", "#ee99aa"), ("delay_p50_ms", "#cc3311")]),
]
LINK = [
    ("kbit/s: what the link carries (grey), what is sent (blue), the estimate (red)",
     [("carries", "#999999"), ("sent", "#4477aa"), ("estimate", "#cc3311")]),
    ("queue in the network, ms", [("queue", "#228833")]),
]
# The lines of the unit test `viewer::cc::tests::run`; more senders than one are not drawn.
RUN = re.compile(r"\s*(?P<at>[\d.]+) C\s+(?P<carries>\d+) q\s+(?P<queue>\d+) \| \w+ est\s+(?P<estimate>\d+) pace\s+\d+ sent\s+(?P<sent>\d+)")


def line(points, colour):
    """One polyline for each stretch without a gap."""
    stretch, out = [], []
    for point in [*points, None]:
        if point is not None:
            stretch.append("%.1f,%.1f" % point)
        elif stretch:
            out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(stretch)}"/>')
            stretch = []
    return out


def draw(rows, panels, time, tick, target):
    """Draws `panels` of `rows`, whose column `time` is in seconds; `tick(end, part)` is the label at that part of the time axis."""
    end = float(rows[-1][time]) or 1.0
    height = TOP + len(panels) * (HEIGHT + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 24} {height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for n, (title, columns) in enumerate(panels):
        top = TOP + n * (HEIGHT + GAP)
        values = [float(row[name]) for name, _ in columns for row in rows if row[name]]
        most = max(values, default=1.0) * 1.1 or 1.0
        out.append(f'<text x="{LEFT}" y="{top - 6}" fill="#222222">{title}</text>')
        for part in (0, 0.5, 1):
            y = top + HEIGHT * (1 - part)
            out.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end" fill="#666666">{most * part:.0f}</text>')
        for name, colour in columns:
            points = [
                (LEFT + WIDTH * float(row[time]) / end, top + HEIGHT * (1 - float(row[name]) / most))
                if row[name]
                else None
                for row in rows
            ]
            out += line(points, colour)
    for part in range(7):
        x = LEFT + WIDTH * part / 6
        out.append(f'<text x="{x:.0f}" y="{height - 12}" text-anchor="middle" fill="#666666">{tick(end, part / 6)}</text>')
    out.append("</svg>")
    with open(target, "w") as file:
        file.write("\n".join(out) + "\n")


def main(kind, *paths):
    if kind == "soak":
        table, target = paths
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
        draw(rows, SOAK, "elapsed_s", lambda end, part: f"{end * part / 60:.0f} min", target)
    else:
        (target,) = paths
        rows = [found.groupdict() for found in map(RUN.match, sys.stdin) if found]
        draw(rows, LINK, "at", lambda end, part: f"{end * part:.0f} s", target)


if __name__ == "__main__":
    main(*sys.argv[1:])
