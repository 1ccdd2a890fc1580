"""How much is run: the sizes and times of every part, as set by default, for everything, or for a quick look."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.h2load import Shape
from bench.load import LoadGenerator
from bench.results import Results

PEAK: Final = Shape(connections=8, streams=32)
LONE: Final = Shape(connections=1, streams=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes and times of all parts."""

    rounds: int = 5
    """Of each system, in turns."""
    long_rounds: int = 3
    """The same, where a turn takes minutes, or nothing is aimed at: growth, restart, catching up, longer values."""
    seconds: float = 4.0
    """Of each load, measured after the warm-up."""
    warm_up_seconds: float = 1.0
    keys: int = 10_000
    """Written before each turn; the load then picks among them at random."""
    value_sizes_bytes: tuple[int, ...] = (64,)
    nodes: tuple[int, ...] = (1, 3)
    tasks: tuple[int, ...] = (64,)
    """Of the Python program, all at once."""
    growing_keys: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    growing_connections: tuple[int, ...] = (1, 10, 100, 1_000)
    growing_nodes: tuple[int, ...] = (1, 3, 5)
    restart_keys: int = 1_000_000
    catch_up_bytes: int = 1 << 30
    steady_seconds: float = 300.0

    def described(self) -> dict[str, str]:
        """As it stands in the results."""
        return {
            "rounds": f"{self.rounds}; {self.long_rounds} of growth, restart, catch-up, longer values; steady 1",
            "each load": f"{self.seconds:g} s after {self.warm_up_seconds:g} s of warm-up",
            "keys": f"{self.keys} of 16 bytes, each written before, picked at random; values are random bytes",
        }


DEFAULT: Final = Plan()

FULL: Final = replace(DEFAULT, value_sizes_bytes=(64, 1024, 65536), tasks=(1, 64, 1024))

QUICK: Final = Plan(
    rounds=1,
    long_rounds=1,
    seconds=0.5,
    warm_up_seconds=0.2,
    keys=500,
    tasks=(8,),
    growing_keys=(500, 2_000),
    growing_connections=(1, 10),
    growing_nodes=(1, 3),
    restart_keys=2_000,
    catch_up_bytes=4 << 20,
    steady_seconds=4.0,
)
"""To see whether every part works. Its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part is handed: how much to run, with what, where, and where the findings go."""

    plan: Plan
    folder: Path
    """For the data of the systems, all on one disk."""
    generator: LoadGenerator
    results: Results

    def say(self, text: str) -> None:
        """Tells whoever watches."""
        print(text, flush=True)


def workload(what: str, nodes: int, value_bytes: int, shape: Shape) -> str:
    """The name of a load, the same in results, targets and reports."""
    return f"{what}, {named_nodes(nodes)}, {value_bytes} B, {shape}"


def named_nodes(nodes: int) -> str:
    """How many, in words that fit."""
    return "1 node" if nodes == 1 else f"{nodes} nodes"
