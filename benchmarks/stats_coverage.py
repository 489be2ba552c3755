"""Do the intervals cover, and do the tests reject as often as they say?

    python benchmarks/stats_coverage.py [--runs N] [--seed S]

Synthetic evaluations with a known truth are drawn again and again: independent cases, cases in
families that are right or wrong together, two models with and without a difference, repeated
trials. Reported is how often each 95% interval holds the truth and how often each 5% test rejects
where nothing differs. An interval is fine when it covers at least 95% less Monte-Carlo error (it
may cover more where counts are small); a test when it rejects at most 5% plus that error.

For contrast the plain methods are shown on families of cases, where they must fail: that is what
the clustered ones are for.

The last line is JSON: {"runs": ..., "coverage": {...}, "type_1": {...}, "outside": [...]}.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from distill.evaluate import stats
from distill.evaluate.runner import widths_to_try

CONTRAST = "(plain, on families)"
"""Marks the methods shown where they do not apply."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    stats.RESAMPLES = 999  # the error of a run's own resampling is small beside that of the runs
    coverage, rejected = {}, {}
    for name, play in COVERAGE.items():
        rng = random.Random(f"{arguments.seed}/{name}")
        coverage[name] = sum(play(rng) for _ in range(arguments.runs)) / arguments.runs
    for name, play in TYPE_1.items():
        rng = random.Random(f"{arguments.seed}/{name}")
        rejected[name] = sum(play(rng) for _ in range(arguments.runs)) / arguments.runs
    error = 3 * math.sqrt(0.05 * 0.95 / arguments.runs)
    power = sum(_power(random.Random(f"{arguments.seed}/{n}")) for n in range(arguments.runs))
    print(f"{'interval':58}{'covers':>8}   nominal 95%")
    for name, share in coverage.items():
        print(f"{name:58}{100 * share:7.1f}%   {_mark(name, share >= 0.95 - error)}")
    print(f"\n{'test':58}{'rejects':>8}   nominal 5%")
    for name, share in rejected.items():
        print(f"{name:58}{100 * share:7.1f}%   {_mark(name, share <= 0.05 + error)}")
    print(f"\nMcNemar's power at the minimum detectable difference: {power / arguments.runs:.1%}")
    print(f"Monte-Carlo error (three standard errors): {100 * error:.1f} points")
    outside = [n for n, s in coverage.items() if s < 0.95 - error and CONTRAST not in n]
    outside += [n for n, s in rejected.items() if s > 0.05 + error and CONTRAST not in n]
    figures = {"coverage": coverage, "type_1": rejected, "power": power / arguments.runs}
    print(json.dumps({"runs": arguments.runs, "error": error, **figures, "outside": outside}))


def _mark(name: str, fine: bool) -> str:
    if CONTRAST in name:
        return "as expected" if not fine else "by luck"
    return "ok" if fine else "OUTSIDE"


# --- synthetic evaluations --------------------------------------------------------------------


def independent(rng: random.Random, n: int, p: float) -> int:
    return sum(rng.random() < p for _ in range(n))


def paired(rng: random.Random, n: int, wins: float, losses: float, both: float) -> Counter[str]:
    """Draw outcomes of two models on n cases."""
    names = ("wins", "losses", "both", "neither")
    drawn = rng.choices(names, (wins, losses, both, 1 - wins - losses - both), k=n)
    return Counter(drawn)


def families(rng: random.Random, m: int, p: float, q: float) -> Iterator[list[tuple[int, int]]]:
    """Draw m families of 1 to 9 cases; within one, chances of both models vary together."""
    for _ in range(m):
        a, b = (rng.betavariate(1.2 * x, 1.2 * (1 - x)) for x in (p, q))
        yield [(int(rng.random() < a), int(rng.random() < b)) for _ in range(rng.randint(1, 9))]


# --- intervals --------------------------------------------------------------------------------


def wilson(n: int, p: float) -> Callable[[random.Random], bool]:
    return lambda rng: _holds(stats.wilson(independent(rng, n, p), n), p)


def share_on_families(m: int, p: float, plain: bool = False) -> Callable[[random.Random], bool]:
    def play(rng: random.Random) -> bool:
        drawn = [(sum(a for a, _ in family), len(family)) for family in families(rng, m, p, p)]
        if plain:
            right, n = (sum(column) for column in zip(*drawn, strict=True))
            return _holds(stats.wilson(right, n), p)
        return _holds(stats.clustered_wilson(drawn), p)

    return play


def newcombe(n: int, wins: float, losses: float, both: float) -> Callable[[random.Random], bool]:
    def play(rng: random.Random) -> bool:
        seen = paired(rng, n, wins, losses, both)
        cells = (seen["both"], seen["wins"], seen["losses"], seen["neither"])
        return _holds(stats.paired_difference(*cells), wins - losses)

    return play


def on_families(m: int, plain: bool = False) -> Callable[[random.Random], bool]:
    def play(rng: random.Random) -> bool:
        drawn = list(families(rng, m, 0.6, 0.45))
        if plain:
            cells = Counter(pair for family in drawn for pair in family)
            both, wins, losses, neither = (cells[k] for k in ((1, 1), (1, 0), (0, 1), (0, 0)))
            return _holds(stats.paired_difference(both, wins, losses, neither), 0.15)
        found = stats.clustered({str(n): [a - b for a, b in f] for n, f in enumerate(drawn)})
        return found is not None and _holds(stats.Interval(found.low, found.high), 0.15)

    return play


def gap(m: int) -> Callable[[random.Random], bool]:
    base, student, teacher = 0.3, 0.6, 0.8

    def play(rng: random.Random) -> bool:
        clusters = []
        for _ in range(m):
            size = rng.randint(1, 9)
            chances = [rng.betavariate(2 * x, 2 * (1 - x)) for x in (base, student, teacher)]
            clusters.append((size, *(independent(rng, size, p) for p in chances)))
        found = stats.gap_closed(clusters)
        return found is not None and _holds(found[1], 0.6)

    return play


def pass_k(n: int, k: int, trials: int, size: int = 1) -> Callable[[random.Random], bool]:
    """Draw cases in families of `size`, which are all as hard."""
    truth = math.prod((2 + i) / (3 + i) for i in range(k))  # E[p^k] of beta(2, 1)

    def play(rng: random.Random) -> bool:
        chances = [rng.betavariate(2, 1) for _ in range(n // size)]
        successes = [independent(rng, trials, p) for p in chances for _ in range(size)]
        clusters = [str(number) for number in range(n // size) for _ in range(size)]
        interval = stats.pass_k(successes, trials, k, clusters)[1]
        return interval is not None and _holds(interval, truth)

    return play


def self_agreement(n: int, trials: int) -> Callable[[random.Random], bool]:
    """Draw trials that agree when both or neither flip, each case at a rate of its own."""
    truth = 1 - 2 * (1 / 2 - 1 / 3)  # E[1 - 2p(1 - p)] of uniform p

    def play(rng: random.Random) -> bool:
        pairs = trials * (trials - 1) / 2
        agreed = []
        for _ in range(n):
            flips = independent(rng, trials, rng.random())
            agreed.append((math.comb(flips, 2) + math.comb(trials - flips, 2)) / pairs)
        # As `repeats.agreement` has it: as many cases, all of one trial pair each.
        return _holds(stats.wilson(round(sum(agreed)), n), truth)

    return play


def until_width(rng: random.Random) -> bool:
    """Stop at the first size whose interval is narrow enough, as `--until-width 10` does."""
    wins, losses, both = 0.25, 0.10, 0.45
    seen: Counter[str] = Counter()
    interval = stats.Interval(-1, 1)
    for before, size in pairwise((0, *widths_to_try(2000))):
        seen += paired(rng, size - before, wins, losses, both)
        cells = (seen["both"], seen["wins"], seen["losses"], seen["neither"])
        interval = stats.paired_difference(*cells)
        if interval.high - interval.low <= 0.10:
            break
    return _holds(interval, wins - losses)


def _holds(interval: stats.Interval, truth: float) -> bool:
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


COVERAGE: dict[str, Callable[[random.Random], bool]] = {
    "Wilson, n = 40, p = 0.9": wilson(40, 0.9),
    "Wilson, n = 240, p = 0.6": wilson(240, 0.6),
    "Wilson, n = 1000, p = 0.97": wilson(1000, 0.97),
    "clustered Wilson, 12 families, p = 0.6": share_on_families(12, 0.6),
    "clustered Wilson, 30 families, p = 0.9": share_on_families(30, 0.9),
    "clustered Wilson, 64 families, p = 0.9": share_on_families(64, 0.9),
    "clustered Wilson, 64 families, p = 0.97": share_on_families(64, 0.97),
    "clustered Wilson, 200 families, p = 0.6": share_on_families(200, 0.6),
    f"Wilson, 64 families {CONTRAST}": share_on_families(64, 0.6, plain=True),
    "Newcombe, n = 60, +15 points": newcombe(60, 0.25, 0.10, 0.45),
    "Newcombe, n = 240, +30 points": newcombe(240, 0.35, 0.05, 0.30),
    "Newcombe, n = 240, no difference": newcombe(240, 0.08, 0.08, 0.60),
    "Newcombe, stopped by --until-width": until_width,
    "clustered bootstrap, 20 families": on_families(20),
    "clustered bootstrap, 64 families": on_families(64),
    "clustered bootstrap, 200 families": on_families(200),
    f"Newcombe, 64 families {CONTRAST}": on_families(64, plain=True),
    "gap closed, 40 families": gap(40),
    "gap closed, 120 families": gap(120),
    "pass^3, 60 cases of 5 trials": pass_k(60, 3, 5),
    "pass^4, 200 cases of 4 trials": pass_k(200, 4, 4),
    "pass^3, 200 cases of 5 trials, in families of 4": pass_k(200, 3, 5, size=4),
    "self-agreement, 80 cases of 4 trials": self_agreement(80, 4),
}


# --- tests ------------------------------------------------------------------------------------


def mcnemar(n: int, discordant: float) -> Callable[[random.Random], bool]:
    def play(rng: random.Random) -> bool:
        seen = paired(rng, n, discordant / 2, discordant / 2, 0.5)
        return stats.mcnemar(seen["wins"], seen["losses"]) < 0.05

    return play


def families_differ(m: int, plain: bool = False) -> Callable[[random.Random], bool]:
    def play(rng: random.Random) -> bool:
        drawn = list(families(rng, m, 0.5, 0.5))
        if plain:
            pairs = [pair for family in drawn for pair in family]
            return stats.mcnemar(pairs.count((1, 0)), pairs.count((0, 1))) < 0.05
        found = stats.clustered({str(n): [a - b for a, b in f] for n, f in enumerate(drawn)})
        return found is not None and found.p_value < 0.05

    return play


def holm(rng: random.Random) -> bool:
    """Nine kinds of 26 cases, none of which differs: is any called different?"""
    cells = {str(n): paired(rng, 26, 0.15, 0.15, 0.4) for n in range(9)}
    values = {name: stats.mcnemar(c["wins"], c["losses"]) for name, c in cells.items()}
    return min(stats.holm(values).values()) < 0.05


TYPE_1: dict[str, Callable[[random.Random], bool]] = {
    "McNemar, n = 60": mcnemar(60, 0.3),
    "McNemar, n = 240": mcnemar(240, 0.3),
    "sign flip, 9 families": families_differ(9),
    "sign flip, 64 families": families_differ(64),
    f"McNemar, 64 families {CONTRAST}": families_differ(64, plain=True),
    "Holm over 9 kinds (any rejection)": holm,
}


def _power(rng: random.Random) -> bool:
    n, discordant = 240, 0.3
    difference = stats.minimum_detectable(n, discordant)
    wins, losses = (discordant + difference) / 2, (discordant - difference) / 2
    seen = paired(rng, n, wins, losses, 0.5)
    return stats.mcnemar(seen["wins"], seen["losses"]) < 0.05


if __name__ == "__main__":
    main()
