from meteora.node.parting import ASK_AGAIN_SECONDS, FIRST_ASK_SECONDS, Parting
from meteora.raft import Configuration


def test_the_first_question_leaves_time_for_what_was_said_last_and_the_next_ones_come_later() -> None:
    parting = Parting(now=100.0)
    asked_at = 100.0 + FIRST_ASK_SECONDS
    assert not parting.asks(asked_at - 0.01)
    assert parting.asks(asked_at)
    assert not parting.asks(asked_at + 0.01)
    assert parting.asks(asked_at + ASK_AGAIN_SECONDS)


def test_it_is_over_once_a_majority_of_those_who_remain_know() -> None:
    parting = Parting(now=0.0)
    parting.refused_by(2)
    assert not parting.is_over(Configuration.of({2, 3, 4}))
    parting.refused_by(2)
    assert not parting.is_over(Configuration.of({2, 3, 4}))
    parting.refused_by(4)
    assert parting.is_over(Configuration.of({2, 3, 4}))


def test_learners_and_strangers_do_not_count() -> None:
    parting = Parting(now=0.0)
    parting.refused_by(5)
    parting.refused_by(9)
    assert not parting.is_over(Configuration.of({2}, learners={5}))


def test_in_a_joint_configuration_both_halves_must_know() -> None:
    joint = Configuration(frozenset({2}), outgoing=frozenset({3}))
    parting = Parting(now=0.0)
    parting.refused_by(2)
    assert not parting.is_over(joint)
    parting.refused_by(3)
    assert parting.is_over(joint)
