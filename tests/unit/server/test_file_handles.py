"""How many connections there may be, by the files that the process may open."""

import resource
import subprocess
import sys

import pytest

from meteora.server.file_handles import RESERVED_HANDLES, connections_within, limit


@pytest.mark.parametrize(
    ("handles", "wanted", "connections"),
    [
        (1 << 20, 10_000, 10_000),
        (10_000 + RESERVED_HANDLES, 10_000, 10_000),
        (9_999 + RESERVED_HANDLES, 10_000, 9_999),
        (2 * RESERVED_HANDLES, 10_000, RESERVED_HANDLES),
        (1024, 10_000, 512),
        (64, 10_000, 32),
        (1 << 20, 7, 7),
    ],
)
def test_clients_get_what_is_left_over_but_half_of_it_where_there_is_little(
    handles: int, wanted: int, connections: int
) -> None:
    assert connections_within(handles, wanted) == connections


def test_the_limit_is_the_one_in_force() -> None:
    assert limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


RAISING = """
import resource
from meteora.server.file_handles import limit, raise_limit
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, min(hard, 200)))
print(raise_limit(), limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_takes_as_many_as_the_system_lets_it_have() -> None:
    # In a process of its own: what is given up once can't be had again.
    outcome = subprocess.run([sys.executable, "-c", RAISING], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["200"] * 4
