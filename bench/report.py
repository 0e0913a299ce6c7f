"""What the bench says: tables as it goes, a summary, JSON."""

import json
import os
import platform
import re
import statistics
import subprocess


def spread(values):
    return "%10.4g  (%.4g to %.4g)" % (statistics.median(values), min(values),
                                       max(values))


def print_case(name, case):
    """What was seen in one case."""
    if case["kind"] == "comparison":
        print("%s (%s)" % (name, case["unit"]))
        pairs = {}
        for pair in case["pairs"]:
            first, other = pair["of"], pair["to"]
            # Where all are compared with one, it is on the others' lines.
            on = other if first == next(iter(case["results"])) else first
            pairs.setdefault(on, []).append(pair)
        for subject, values in case["results"].items():
            line = "  %-28s median %s" % (subject, spread(values))
            for pair in pairs.get(subject, ()):
                line += "   %s: %.3g (%.3g to %.3g)%s" % (
                    "ratio" if case["bigger"] else "ratio of times",
                    statistics.median(pair["ratios"]), min(pair["ratios"]),
                    max(pair["ratios"]),
                    verdict(statistics.median(pair["ratios"]), pair["goal"]))
            print(line)
    else:
        print(name)
        width = max(map(len, case["medians"]), default=0)
        print("  %-*s  %s" % (width, "", "  ".join(case["columns"])))
        for subject, row in case["medians"].items():
            print("  %-*s  %s" % (width, subject, "  ".join(
                "%*s" % (len(c), "%.4g" % row[c] if c in row else "-")
                for c in case["columns"])))
        for check in case["checks"]:
            print("  %s: %.4g%s" % (check["what"], check["value"],
                                    verdict(check["value"], check["goal"])))
    for what, value in case["extra"].items():
        if not isinstance(value, dict):
            print("  %s: %s" % (what, value))
    for subject, error in case["errors"].items():
        print("  %s HAS FAILED: %s" % (subject, error))
    print("  [%.0f s]" % case["seconds"], flush=True)


def reached(value, goal):
    """Whether it is ">= 0.97", "<= 1.05" or "= 1.0 +- 0.05"."""
    sign, number, *tolerance = re.findall(r"[<>=]+|[\d.]+", goal)
    number = float(number)
    if sign == ">=":
        return value >= number
    if sign == "<=":
        return value <= number
    return abs(value - number) <= float(tolerance[0])


def verdict(value, goal):
    if goal is None:
        return ""
    return ", goal %s, %s" % (goal,
                              "reached" if reached(value, goal) else "MISSED")


def goals(report):
    """All that has a goal: [(case, text, median, least, most, goal)]."""
    found = []
    for name, case in report["cases"].items():
        for pair in case.get("pairs", ()):
            if pair["goal"]:
                found.append((name, "%s / %s" % (pair["of"], pair["to"]),
                              statistics.median(pair["ratios"]),
                              min(pair["ratios"]), max(pair["ratios"]),
                              pair["goal"]))
        for check in case.get("checks", ()):
            if check["goal"]:
                value = check["value"]
                found.append((name, check["what"], value, value, value,
                              check["goal"]))
    return found


def print_summary(report):
    print("\n%-30s %-46s %8s  %-16s %s" % ("case", "of / to", "median",
                                           "spread", "goal"))
    for name, what, median, least, most, goal in goals(report):
        print("%-30s %-46s %8.3g  %-16s %s %s" % (
            name, what, median, "%.3g to %.3g" % (least, most), goal,
            "reached" if reached(median, goal) else "MISSED"))
    failures = [(name, subject, error)
                for name, case in report["cases"].items()
                for subject, error in case["errors"].items()]
    for name, subject, error in failures:
        print("%s: %s HAS FAILED: %s" % (name, subject, error))
    return bool(failures)


def machine():
    """On what it was measured, for the reader of the JSON."""

    def line(path, key):
        with open(path) as f:
            for text in f:
                if text.startswith(key):
                    return text.partition(":")[2].strip()
        return None

    def version(*command):
        try:
            text = subprocess.run(command, capture_output=True, text=True,
                                  check=True).stdout
            return text.splitlines()[0].strip()
        except (OSError, IndexError, subprocess.CalledProcessError):
            return None
    return {"cpus": os.cpu_count(), "kernel": platform.release(),
            "processor": line("/proc/cpuinfo", "model name"),
            "memory": line("/proc/meminfo", "MemTotal"),
            "nbdkit": version("nbdkit", "--version"),
            "fio": version("fio", "--version"),
            "qemu": version("qemu-img", "--version"),
            "load at the start": os.getloadavg()[0]}


def write(report, path):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # A run that is interrupted keeps the file of the one before, or has its
    # own.
    with open(path + ".new", "w") as f:
        json.dump(report, f, indent=1)
        f.write("\n")
    os.rename(path + ".new", path)
