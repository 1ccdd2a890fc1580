import asyncio

import pytest
import uvloop


@pytest.fixture(scope="session", autouse=True)
def uvloop_has_its_pipe() -> None:
    """The first uvloop of a process opens a pipe for signals, for good."""
    uvloop.run(asyncio.sleep(0))
