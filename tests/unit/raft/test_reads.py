import pytest

from meteora.raft import Change, ChangeKind, ConfChange, Configuration
from meteora.raft.reads import Lease, PendingReads, ReadRequest, is_lease_context

THREE = Configuration.of({1, 2, 3})


def pending(*contexts: bytes) -> PendingReads:
    """Reads of n1, each noted at ten times its place in the queue, which is its round, and acknowledged by n1."""
    reads = PendingReads()
    for place, context in enumerate(contexts, start=1):
        reads.add(ReadRequest(context, 1), 10 * place)
        reads.acknowledge(reads.context, 1)
    return reads


def test_a_read_waits_for_a_majority() -> None:
    reads = pending(b"a")
    assert reads.confirmed(THREE) == []
    assert len(reads) == 1


def test_a_majority_confirms_a_read_at_the_index_that_was_noted() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"1", 2)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10)]


def test_a_confirmed_read_is_gone() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"1", 2)
    reads.confirmed(THREE)
    assert reads.confirmed(THREE) == []
    assert len(reads) == 0


def test_what_confirms_a_read_confirms_all_before_it_in_their_order_and_none_after_it() -> None:
    reads = pending(b"a", b"b", b"c")
    reads.acknowledge(b"2", 3)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10), (ReadRequest(b"b", 1), 20)]
    assert len(reads) == 1


def test_the_same_member_twice_is_no_majority() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"1", 1)
    assert reads.confirmed(THREE) == []


def test_a_learners_acknowledgement_does_not_count() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"1", 4)
    assert reads.confirmed(Configuration.of({1, 2, 3}, {4})) == []


def test_an_acknowledgement_of_no_round_is_ignored() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"never asked", 2)
    assert reads.confirmed(THREE) == []


def test_the_same_request_again_keeps_its_index_and_its_acknowledgements() -> None:
    reads = pending(b"a")
    reads.add(ReadRequest(b"a", 1), 99)
    reads.acknowledge(b"1", 3)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10)]


def test_each_read_begins_a_round_that_its_heartbeats_name() -> None:
    assert pending(b"a", b"b").context == b"2"


def test_a_late_acknowledgement_of_an_earlier_round_takes_nothing_back() -> None:
    reads = pending(b"a", b"b")
    reads.acknowledge(b"2", 3)
    reads.acknowledge(b"1", 3)
    assert [request.context for request, _ in reads.confirmed(THREE)] == [b"a", b"b"]


def test_a_configuration_that_shrinks_may_confirm() -> None:
    reads = pending(b"a")
    two = THREE.after(ConfChange((Change(ChangeKind.REMOVE, 3),)))
    assert reads.confirmed(two) == []
    one = two.after(ConfChange((Change(ChangeKind.REMOVE, 2),)))
    assert reads.confirmed(one) == [(ReadRequest(b"a", 1), 10)]


def test_the_acknowledgements_of_a_confirmed_read_do_not_serve_one_that_is_asked_again() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"1", 2)
    reads.confirmed(THREE)
    reads.add(ReadRequest(b"a", 1), 50)
    assert reads.confirmed(THREE) == []


# Leases

LENGTH_TICKS = 5


def lease_after(ticks: int, *, answered: dict[int, int]) -> Lease:
    """A lease at so many ticks, with the tick whose heartbeat each voter has answered last."""
    lease = Lease(LENGTH_TICKS)
    contexts = [lease.context]
    for _ in range(ticks):
        lease.tick()
        contexts.append(lease.context)
    for voter, tick in answered.items():
        lease.acknowledge(contexts[tick], voter)
    return lease


@pytest.mark.parametrize(
    ("ticks", "answered", "holds"),
    [
        pytest.param(0, {}, False, id="nobody has answered yet"),
        pytest.param(LENGTH_TICKS, {}, False, id="nobody has answered for long"),
        pytest.param(1, {2: 1}, True, id="just now"),
        pytest.param(LENGTH_TICKS, {2: 1}, True, id="at its last tick"),
        pytest.param(LENGTH_TICKS + 1, {2: 1}, False, id="over"),
        pytest.param(LENGTH_TICKS + 1, {2: 1, 3: 2}, True, id="another one has answered later"),
        pytest.param(1, {4: 1}, False, id="one who is no voter"),
    ],
)
def test_a_lease_holds_as_long_as_a_majority_has_promised(ticks: int, answered: dict[int, int], holds: bool) -> None:
    assert lease_after(ticks, answered=answered).holds(THREE, 1) is holds


@pytest.mark.parametrize(("answered", "holds"), [({2: 1}, False), ({4: 1}, False), ({2: 1, 4: 1}, True)])
def test_while_joint_both_majorities_must_have_promised(answered: dict[int, int], holds: bool) -> None:
    joint = THREE.after(ConfChange((Change(ChangeKind.REMOVE, 2), Change(ChangeKind.ADD_VOTER, 4))))
    assert joint.voters == {1, 3, 4}
    assert lease_after(1, answered=answered).holds(joint, 1) is holds


def test_an_older_answer_that_comes_late_does_not_shorten_a_lease() -> None:
    lease = lease_after(3, answered={2: 3})
    lease.acknowledge(lease_after(1, answered={}).context, 2)
    for _ in range(LENGTH_TICKS - 1):
        lease.tick()
    assert lease.holds(THREE, 1)


def test_a_lease_that_is_void_stays_so() -> None:
    lease = lease_after(1, answered={2: 1, 3: 1})
    lease.void()
    lease.tick()
    lease.acknowledge(lease.context, 2)
    assert not lease.holds(THREE, 1)


def test_a_lone_voter_needs_no_promise() -> None:
    assert Lease(LENGTH_TICKS).holds(Configuration.of({1}), 1)


@pytest.mark.parametrize(("context", "is_lease"), [(b"", False), (b"12", False), (Lease(1).context, True)])
def test_the_heartbeats_of_a_lease_are_known_by_their_context(context: bytes, is_lease: bool) -> None:
    assert is_lease_context(context) is is_lease
