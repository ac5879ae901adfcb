#!/usr/bin/env python3
"""plot.py TABLE.csv OUT.svg: draws what `make soak` measured, one panel for each figure over the same time axis."""

import csv
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 96, 64, 28, 34
PANELS = [
    ("viewers", [("viewers", "#4477aa")]),
    ("memory, MB", [("resident_mb", "#228833")]),
    ("descriptors", [("descriptors", "#aa3377")]),
    ("threads", [("threads", "#ccbb44")]),
    ("delay, ms: half of all, and 95 %", [("delay_p95_ms", "#ee99aa"), ("delay_p50_ms", "#cc3311")]),
]


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


def main(table, target):
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    end = float(rows[-1]["elapsed_s"]) or 1.0
    height = TOP + len(PANELS) * (HEIGHT + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 24} {height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for n, (title, columns) in enumerate(PANELS):
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
                (LEFT + WIDTH * float(row["elapsed_s"]) / end, top + HEIGHT * (1 - float(row[name]) / most))
                if row[name]
                else None
                for row in rows
            ]
            out += line(points, colour)
    for part in range(7):
        x, minutes = LEFT + WIDTH * part / 6, end * part / 360
        out.append(f'<text x="{x:.0f}" y="{height - 12}" text-anchor="middle" fill="#666666">{minutes:.0f} min</text>')
    out.append("</svg>")
    with open(target, "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
