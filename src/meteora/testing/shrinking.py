"""How little of a failing run is enough to see it fail.

A run of fewer seconds is the same run, step by step, up to the moment when its faults end: so a shorter run that breaks
the same invariant is a shorter story of the same seed.
"""

from meteora.testing.simulation import Report, Simulation

ATTEMPTS = 12
"""Runs that are spent on it, each of at most the length of the first. They narrow an hour down to a second."""

PRECISION_SECONDS = 0.05


def shortest(failed: Report, seconds: float) -> tuple[Report, float]:
    """The shortest run found that fails as this one of `seconds` did, and its seconds."""
    best, best_seconds = failed, _rounded(min(seconds, failed.virtual_seconds))
    enough_for_nothing = 0.0
    for _ in range(ATTEMPTS):
        if best_seconds - enough_for_nothing < PRECISION_SECONDS:
            break
        tried_seconds = _rounded((enough_for_nothing + best_seconds) / 2)
        report = Simulation(failed.seed, tried_seconds).run()
        if report.invariant == failed.invariant:
            best, best_seconds = report, _rounded(min(tried_seconds, report.virtual_seconds))
        else:
            enough_for_nothing = tried_seconds
    return best, best_seconds


def _rounded(seconds: float) -> float:
    """Up to what a command line shows, so that typing it gives the same run."""
    return int(seconds * 1000 + 1) / 1000
