import pytest

from tests.rpc.probe import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Either host: what a test of it asks for must hold on both."""
    return request.param
