import pytest

from meteora import __version__
from meteora.errors import ReleaseTooOld
from meteora.features import OWN_RELEASE, SUPPORTED_LEVEL, Release, ensure_supported, since


def test_every_level_that_is_supported_has_a_release() -> None:
    assert all(since(level).startswith("release ") for level in range(SUPPORTED_LEVEL + 1))


def test_this_release_says_what_it_is() -> None:
    assert (OWN_RELEASE.level, str(OWN_RELEASE)) == (SUPPORTED_LEVEL, f"release {__version__}")


def test_a_release_that_says_nothing_is_an_older_one() -> None:
    assert str(Release()) == "an older release"


def test_a_level_of_a_later_release_is_refused_with_the_way_out() -> None:
    ensure_supported(SUPPORTED_LEVEL, "the log")
    with pytest.raises(ReleaseTooOld, match=r"the log has feature level 9.*its data is kept"):
        ensure_supported(9, "the log")
