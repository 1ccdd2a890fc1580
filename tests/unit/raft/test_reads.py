from meteora.raft import Change, ChangeKind, ConfChange, Configuration
from meteora.raft.reads import PendingReads, ReadRequest

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
