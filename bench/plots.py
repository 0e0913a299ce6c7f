"""Plots of what results.json has, by gnuplot, as SVG and as PNG."""

import os
import re
import statistics
import subprocess

from servers import Failed

SERVERS = "#1b6ca8"
LATENCY = "#c8553d"
SPREAD = "#555555"
MARK = "#d1495b"


def block(name, rows):
    """Rows of numbers and texts, as gnuplot's inline data."""

    def word(value):
        if isinstance(value, str):
            return '"%s"' % value.replace('"', "")
        return "%.6g" % value
    return "$%s << EOD\n%s\nEOD\n" % (
        name, "\n".join(" ".join(map(word, row)) for row in rows))


def draw(directory, name, width, height, script):
    """NAME.svg and NAME.png."""
    os.makedirs(directory, exist_ok=True)
    for kind, terminal in (("svg", "svg size %d,%d dynamic font 'sans,12' "
                            "background 'white'"),
                           ("png", "pngcairo size %d,%d font 'sans,10'")):
        path = os.path.join(directory, name + "." + kind)
        text = "set encoding utf8\nset terminal %s\nset output '%s'\n%s" % (
            terminal % (width, height), path.replace("'", "''"), script)
        done = subprocess.run(["gnuplot"], input=text, text=True,
                              capture_output=True, check=False)
        if done.returncode or not os.path.getsize(path):
            raise Failed("gnuplot: " + done.stderr.strip())
        print(path)


def timeline(data, directory):
    """How much is hydrated, and below it what a client felt meanwhile."""
    end = max(data["hydrated"][-1][0], data["latency"][-1][0])
    mark = ""
    if data["complete"] is not None:
        mark = ("set arrow 1 from first %g, graph 0 to first %g, graph 1 nohead"
                " dt 2 lc rgb '%s'\n" % (data["complete"], data["complete"],
                                         SPREAD))
    script = (
        block("hydrated", data["hydrated"]) + block("latency", data["latency"])
        + "set multiplot\nset grid lc rgb '#dddddd'\n"
        "set lmargin at screen 0.1\nset rmargin at screen 0.97\n"
        "set xrange [0:%g]\n" % end + mark +
        "set tmargin at screen 0.92\nset bmargin at screen 0.56\n"
        "set format x ''\nset yrange [0:%g]\nset ylabel 'hydrated, MiB'\n"
        "set title 'A clone over 1 Gbit/s with 5 ms, and a client that reads"
        " 4 KiB at random (queue 4)'\n"
        "plot $hydrated using 1:2 with filledcurves x1 notitle fc rgb '%s' "
        "fs transparent solid 0.25, '' using 1:2 with lines lw 2 lc rgb '%s'"
        " notitle\n" % (data["size"] * 1.05, SERVERS, SERVERS) +
        "unset title\nset tmargin at screen 0.52\nset bmargin at screen 0.12\n"
        "set format x '%%g'\nset xlabel 'seconds since the start'\n"
        "set ylabel 'latency, µs'\nset logscale y\nset yrange [10:*]\n"
        "set key top right\n"
        "plot $latency using 1:3 with lines lw 2 lc rgb '%s' title 'p99', "
        "'' using 1:2 with lines lw 2 lc rgb '%s' title 'median'\n"
        "unset multiplot\n" % (LATENCY, SERVERS))
    draw(directory, "timeline", 900, 620, script)


def aim(goal):
    """The number in ">= 0.97"."""
    return float(re.search(r"[\d.]+", goal)[0])


def panel(name, rows, title, low, high, top, bottom):
    """Bars from 1.0 on a logarithmic axis: to the right is more."""
    script = block(name, [
        [i, median, least, most, aim(goal),
         "%s: %s / %s" % (case, of, to)]
        for i, (case, of, to, median, least, most, goal) in enumerate(rows)])
    return script + (
        "set tmargin at screen %g\nset bmargin at screen %g\n"
        "set title '%s'\nset yrange [%g:-0.6]\nset xrange [%g:%g]\n"
        "set arrow 1 from 1, graph 0 to 1, graph 1 nohead lw 1.5\n"
        "plot $%s using (1):1:(1):2:($1-0.35):($1+0.35):ytic(6) "
        "with boxxyerror fs solid 0.8 lc rgb '%s' notitle, "
        "'' using 2:1:3:4 with xerrorbars pt 0 lc rgb '%s' notitle, "
        "'' using 5:1 with points pt 13 ps 1 lc rgb '%s' notitle\n"
        % (top, bottom, title, len(rows) - 0.4, low, high, name, SERVERS,
           SPREAD, MARK))


def ratios(report, directory):
    """All ratios that have a goal: bars, their spread, and a mark at the
    goal."""
    more, less = [], []
    for name, case in report["cases"].items():
        for pair in case.get("pairs", ()):
            if pair["goal"]:
                (more if case["bigger"] else less).append(
                    (name, pair["of"], pair["to"],
                     statistics.median(pair["ratios"]), min(pair["ratios"]),
                     max(pair["ratios"]), pair["goal"]))
    panels = [(n, rows, title) for n, rows, title in (
        ("more", more, "Throughput: more is better (the mark is the goal)"),
        ("less", less, "Time and latency: less is better")) if rows]
    if not panels:
        return
    numbers = [n for _, rows, _ in panels for row in rows
               for n in (*row[3:6], aim(row[6]))]
    low, high = min(numbers + [0.25]) * 0.9, max(numbers + [4]) * 1.1
    # Pixels: a row, and what is above and below a panel.
    row, edge = 19, 62
    height = sum(row * len(rows) + edge for _, rows, _ in panels)
    script = ("set multiplot\nset lmargin at screen 0.5\n"
              "set rmargin at screen 0.97\nset logscale x 2\n"
              "set xtics (0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16,"
              " 32, 64)\n"
              "set grid xtics lc rgb '#dddddd'\nset ytics nomirror\n"
              "set tics scale 0.3\n")
    at = height
    for name, rows, title in panels:
        top, bottom = at - edge * 0.5, at - edge * 0.5 - row * len(rows)
        script += panel(name, rows, title, low, high, top / height,
                        bottom / height)
        at = bottom - edge * 0.5
    draw(directory, "ratios", 1000, height, script + "unset multiplot\n")


def all_of(report, directory):
    extra = report["cases"].get("timeline", {}).get("extra", {})
    if "timeline" in extra:
        timeline(extra["timeline"], directory)
    ratios(report, directory)
