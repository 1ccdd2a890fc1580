from meteora.raft import Change, ChangeKind, ConfChange, Configuration
from meteora.raft.reads import PendingReads, ReadRequest

THREE = Configuration.of({1, 2, 3})


def pending(*contexts: bytes) -> PendingReads:
    """Reads of n1, each noted at ten times its place in the queue, and acknowledged by n1."""
    reads = PendingReads()
    for place, context in enumerate(contexts, start=1):
        reads.add(ReadRequest(context, 1), 10 * place)
        reads.acknowledge(context, 1)
    return reads


def test_a_read_waits_for_a_majority() -> None:
    reads = pending(b"a")
    assert reads.confirmed(THREE) == []
    assert len(reads) == 1


def test_a_majority_confirms_a_read_at_the_index_that_was_noted() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"a", 2)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10)]


def test_a_confirmed_read_is_gone() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"a", 2)
    reads.confirmed(THREE)
    assert reads.confirmed(THREE) == []
    assert len(reads) == 0


def test_what_confirms_a_read_confirms_all_before_it_in_their_order_and_none_after_it() -> None:
    reads = pending(b"a", b"b", b"c")
    reads.acknowledge(b"b", 3)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10), (ReadRequest(b"b", 1), 20)]
    assert len(reads) == 1


def test_the_same_member_twice_is_no_majority() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"a", 1)
    assert reads.confirmed(THREE) == []


def test_a_learners_acknowledgement_does_not_count() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"a", 4)
    assert reads.confirmed(Configuration.of({1, 2, 3}, {4})) == []


def test_an_acknowledgement_of_an_unknown_read_is_ignored() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"never asked", 2)
    assert reads.confirmed(THREE) == []


def test_the_same_request_again_keeps_its_index_and_its_acknowledgements() -> None:
    reads = pending(b"a")
    reads.add(ReadRequest(b"a", 1), 99)
    reads.acknowledge(b"a", 3)
    assert reads.confirmed(THREE) == [(ReadRequest(b"a", 1), 10)]


def test_the_last_context_is_that_of_the_newest_read() -> None:
    assert pending(b"a", b"b").last_context() == b"b"
    assert pending().last_context() == b""


def test_a_configuration_that_shrinks_may_confirm() -> None:
    reads = pending(b"a")
    two = THREE.after(ConfChange((Change(ChangeKind.REMOVE, 3),)))
    assert reads.confirmed(two) == []
    one = two.after(ConfChange((Change(ChangeKind.REMOVE, 2),)))
    assert reads.confirmed(one) == [(ReadRequest(b"a", 1), 10)]


def test_nothing_of_a_confirmed_read_stays_in_memory() -> None:
    reads = pending(b"a", b"b")
    reads.acknowledge(b"b", 2)
    reads.confirmed(THREE)
    assert reads._acks == {}


def test_the_acknowledgements_of_a_confirmed_read_do_not_serve_one_that_is_asked_again() -> None:
    reads = pending(b"a")
    reads.acknowledge(b"a", 2)
    reads.confirmed(THREE)
    reads.add(ReadRequest(b"a", 1), 50)
    assert reads.confirmed(THREE) == []
