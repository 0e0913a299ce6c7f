"""What a case is, and how it is run.

A Comparison runs its subjects in turn (A B C A B C ...), since machines are
noisy, and what is looked at is ratios within one run: the median of the ratios
of neighbours, with their spread.  A Survey has figures of several kinds for
each of its subjects, and no order among them.  Nothing is asserted; goals are
shown beside what was seen.
"""

import contextlib
import signal
import statistics
import time

from servers import Failed, source

# No single measurement may take longer: whatever hangs must not stop the rest.
BOUND = 180


class Comparison:
    """`prepare (bench)` is a context manager that gives measure (subject),
    which returns a number of that unit.  Unless `pairs` has others, the first
    subject is compared with each of the others.  `goal` is for the ratio: ">=
    0.97"."""

    def __init__(self, unit, subjects, prepare, bigger=True, goal=None,
                 pairs=None, runs=None, quick=True):
        self.unit = unit
        self.subjects = subjects
        self.prepare = prepare
        self.bigger = bigger
        self.runs = runs
        self.quick = quick              # whether it is part of --quick
        goals = goal if isinstance(goal, dict) else {}
        self.pairs = pairs or [
            (subjects[0], other, goals.get(other) if goals else goal)
            for other in subjects[1:]]

    def report(self, results):
        """The part of the JSON that follows from the results."""
        pairs = []
        for a, b, goal in self.pairs:
            if a in results and b in results:
                ratios = [x / y for x, y in zip(results[a], results[b]) if y]
                if ratios:
                    pairs.append({"of": a, "to": b, "ratios": ratios,
                                  "goal": goal})
        return {"kind": "comparison", "unit": self.unit,
                "bigger": self.bigger, "pairs": pairs}


class Survey:
    """measure (subject) returns {column: number}.  `checks` are (text, function
    of {subject: {column: median}}, goal); a function that misses a subject is
    left out."""

    def __init__(self, subjects, prepare, columns, checks=(), runs=None,
                 quick=True):
        self.subjects = subjects
        self.prepare = prepare
        self.columns = columns
        self.checks = checks
        self.runs = runs
        self.quick = quick

    def report(self, results):
        medians = {subject: {column: statistics.median(v[column] for v in values
                                                       if column in v)
                             for column in self.columns
                             if any(column in v for v in values)}
                   for subject, values in results.items()}
        checks = []
        for text, function, goal in self.checks:
            with contextlib.suppress(KeyError):
                checks.append({"what": text, "value": function(medians),
                               "goal": goal})
        return {"kind": "survey", "columns": self.columns, "medians": medians,
                "checks": checks}


def fresh(function, delay=0):
    """prepare () for what starts anew each time, with memory that is ready and
    a source of that delay: function (bench, source, subject)."""

    @contextlib.contextmanager
    def prepare(bench):
        def measure(subject):
            bench.warm()
            with source(bench, delay) as src:
                return function(bench, src, subject)
        yield measure
    return prepare


@contextlib.contextmanager
def bounded(seconds):
    """What takes longer fails."""

    def too_long(*_):
        raise Failed("took longer than %d s" % seconds)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_case(bench, case, runs):
    """The case's part of the JSON.  A subject that fails is left out from then
    on, and "errors" says why; the others go on."""
    begin = time.monotonic()
    bench.extra = {}
    results = {s: [] for s in case.subjects}
    errors = {}
    try:
        with contextlib.ExitStack() as stack:
            with bounded(BOUND):
                measure = stack.enter_context(case.prepare(bench))
            for _ in range(min(runs, case.runs or runs)):
                for subject in case.subjects:
                    if subject in errors:
                        continue
                    try:
                        with bounded(BOUND):
                            results[subject].append(measure(subject))
                    # Whatever it is: the others must go on.
                    except Exception as e:      # pylint: disable=W0718
                        errors[subject] = "%s: %s" % (type(e).__name__, e)
    except Exception as e:                      # pylint: disable=W0718
        errors["preparation"] = "%s: %s" % (type(e).__name__, e)
    results = {s: v for s, v in results.items() if v and s not in errors}
    report = {"results": results, "errors": errors, "extra": bench.extra,
              "seconds": time.monotonic() - begin}
    report.update(case.report(results))
    return report
