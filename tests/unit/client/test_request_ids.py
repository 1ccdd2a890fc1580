import threading
from contextlib import ExitStack

from meteora.client.request_ids import RequestIds


def test_sequences_count_from_one() -> None:
    ids = RequestIds()
    sequences = []
    for _ in range(3):
        with ids.issue() as name:
            sequences.append(name(False).sequence)
    assert sequences == [1, 2, 3]


def test_all_names_of_a_client_have_its_id_and_it_is_not_zero() -> None:
    ids = RequestIds()
    with ids.issue() as one, ids.issue() as other:
        assert one(False).client_id == other(True).client_id != 0


def test_two_clients_have_different_ids() -> None:
    with RequestIds().issue() as one, RequestIds().issue() as other:
        assert one(False).client_id != other(False).client_id


def test_a_retry_has_the_same_name_and_says_that_it_is_one() -> None:
    with RequestIds().issue() as name:
        first, second = name(False), name(True)
    assert (first.sequence, first.retry) == (1, False)
    assert (second.client_id, second.sequence, second.retry) == (first.client_id, 1, True)


def test_the_lowest_unfinished_sequence_travels_with_every_write() -> None:
    ids = RequestIds()
    with ExitStack() as oldest:
        oldest.enter_context(ids.issue())
        with ids.issue() as second:
            assert second(False).first_outstanding == 1
        with ids.issue() as third:
            assert third(False).first_outstanding == 1
            oldest.close()
            assert third(True).first_outstanding == 3
    with ids.issue() as fourth:
        assert fourth(False).first_outstanding == 4


def test_a_write_that_failed_is_not_outstanding() -> None:
    ids = RequestIds()
    try:
        with ids.issue():
            raise RuntimeError
    except RuntimeError:
        pass
    with ids.issue() as name:
        assert name(False).first_outstanding == 2


def test_threads_never_get_the_same_sequence() -> None:
    ids = RequestIds()
    sequences: list[int] = []

    def draw() -> None:
        for _ in range(500):
            with ids.issue() as name:
                sequences.append(name(False).sequence)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequences) == list(range(1, 2001))
