import pytest

from meteora.features import Release
from meteora.node.members import Members
from meteora.node.releases import MAX_UNKNOWN, Releases
from meteora.raft import Configuration
from tests.unit.node.nodes import member

THREE = Members(Configuration(frozenset({1, 2}), learners=frozenset({3})), {each: member(each) for each in (1, 2, 3)})
NEW = Release(1, "2.0.0")


@pytest.fixture
def releases() -> Releases:
    """Node 1's, which runs the new release."""
    return Releases(1, 10, NEW)


def test_the_common_level_is_the_lowest_of_all_members_learners_too(releases: Releases) -> None:
    releases.heard(2, 20, NEW, THREE)
    releases.heard(3, 30, Release(0, "1.0.0"), THREE)
    assert releases.common_level(THREE, {1, 2, 3}) == 0
    releases.heard(3, 30, NEW, THREE)
    assert releases.common_level(THREE, {1, 2, 3}) == 1


def test_a_member_that_has_said_nothing_holds_all_back(releases: Releases) -> None:
    releases.heard(2, 20, NEW, THREE)
    assert releases.common_level(THREE, {1, 2, 3}) == 0


def test_a_member_that_is_silent_now_holds_all_back(releases: Releases) -> None:
    for each in (2, 3):
        releases.heard(each, 10 * each, NEW, THREE)
    assert releases.common_level(THREE, {1, 2}) == 0


def test_what_another_node_with_the_same_id_said_counts_for_nothing(releases: Releases) -> None:
    releases.heard(2, 20, NEW, THREE)
    releases.heard(3, 31, NEW, THREE)
    assert releases.common_level(THREE, {1, 2, 3}) == 0


def test_a_member_that_comes_back_with_an_older_release_holds_all_back(releases: Releases) -> None:
    for each in (2, 3):
        releases.heard(each, 10 * each, NEW, THREE)
    releases.heard(2, 20, Release(), THREE)
    assert releases.common_level(THREE, {1, 2, 3}) == 0


def test_who_holds_all_back_is_named(releases: Releases) -> None:
    releases.heard(2, 20, Release(0, "1.0.0"), THREE)
    assert releases.older_than(1, THREE) == "node 2 runs release 1.0.0, node 3 has not said what it runs"
    assert releases.older_than(0, THREE) == "node 3 has not said what it runs"


def test_nobody_speaks_for_this_node(releases: Releases) -> None:
    releases.heard(1, 10, Release(), THREE)
    assert "node 1" not in releases.older_than(1, THREE)


def test_strangers_are_forgotten_when_they_are_many(releases: Releases) -> None:
    releases.heard(2, 20, NEW, THREE)
    for stranger in range(100, 102 + MAX_UNKNOWN):
        releases.heard(stranger, 10 * stranger, NEW, THREE)
    voters = (1, 2, 100, 101 + MAX_UNKNOWN)
    later = Members(Configuration(frozenset(voters)), {each: member(each) for each in voters})
    assert releases.older_than(1, later) == "node 100 has not said what it runs"


def test_what_was_proposed_counts_for_its_term_only(releases: Releases) -> None:
    releases.proposed(3, 1)
    assert [releases.proposed_in(term) for term in (2, 3, 4)] == [0, 1, 0]
