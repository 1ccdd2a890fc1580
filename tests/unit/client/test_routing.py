from meteora.client.routing import DISTRUST_SECONDS, Routes

SEEDS = ("a:1", "b:1", "c:1")
MEMBERS = {1: "a:1", 2: "b:1", 3: "c:1", 4: "d:1"}


def test_at_first_the_seeds_are_asked_in_their_order() -> None:
    assert Routes(SEEDS).order(0.0) == list(SEEDS)


def test_the_leader_comes_first_and_members_that_are_no_seeds_last() -> None:
    routes = Routes(SEEDS)
    routes.learn("b:1", MEMBERS, 3)
    assert routes.order(0.0) == ["c:1", "b:1", "a:1", "d:1"]


def test_without_a_leader_who_answered_last_comes_first() -> None:
    routes = Routes(SEEDS)
    routes.learn("b:1", MEMBERS, 0)
    assert routes.order(0.0) == ["b:1", "a:1", "c:1", "d:1"]


def test_a_leader_that_is_no_member_is_no_leader() -> None:
    routes = Routes(SEEDS)
    routes.learn("b:1", MEMBERS, 9)
    assert routes.order(0.0)[0] == "b:1"


def test_a_new_leader_replaces_the_old_one() -> None:
    routes = Routes(SEEDS)
    routes.learn("b:1", MEMBERS, 3)
    routes.learn("b:1", MEMBERS, 1)
    assert routes.order(0.0)[0] == "a:1"


def test_members_that_left_are_forgotten_and_seeds_are_not() -> None:
    routes = Routes(("a:1",))
    routes.learn("a:1", {1: "a:1", 2: "b:1"}, 0)
    routes.learn("b:1", {2: "b:1"}, 0)
    assert set(routes.order(0.0)) == {"a:1", "b:1"}
    routes.learn("c:1", {3: "c:1"}, 0)
    assert set(routes.order(0.0)) == {"a:1", "c:1"}


def test_a_reply_without_members_changes_no_members() -> None:
    routes = Routes(SEEDS)
    routes.learn("a:1", MEMBERS, 4)
    routes.learn("a:1", {}, 4)
    assert routes.order(0.0)[0] == "d:1"


def test_a_member_without_a_usable_address_is_left_out() -> None:
    routes = Routes(("a:1",))
    routes.learn("a:1", {1: "a:1", 2: "", 3: "nonsense"}, 2)
    assert (dict(routes.members), routes.order(0.0)) == ({1: "a:1"}, ["a:1"])


def test_a_member_at_every_interface_is_looked_for_on_the_host_that_answered() -> None:
    routes = Routes(("h:1",))
    routes.learn("h:1", {1: "0.0.0.0:1", 2: "0.0.0.0:2"}, 2)
    assert routes.order(0.0) == ["h:2", "h:1"]


def test_what_failed_is_asked_last_and_never_left_out() -> None:
    routes = Routes(SEEDS)
    routes.learn("b:1", MEMBERS, 3)
    routes.distrust("c:1", 0.0)
    assert routes.order(0.0) == ["b:1", "a:1", "d:1", "c:1"]


def test_if_all_failed_the_order_is_as_if_none_had() -> None:
    routes = Routes(SEEDS)
    for endpoint in SEEDS:
        routes.distrust(endpoint, 0.0)
    assert routes.order(0.0) == list(SEEDS)


def test_distrust_ends_with_time() -> None:
    routes = Routes(SEEDS)
    routes.distrust("a:1", 5.0)
    assert routes.order(5.0 + DISTRUST_SECONDS) == list(SEEDS)


def test_distrust_ends_with_an_answer() -> None:
    routes = Routes(SEEDS)
    routes.distrust("a:1", 0.0)
    routes.learn("a:1", {}, 0)
    assert routes.order(0.0) == list(SEEDS)


def test_an_endpoint_answers_from_its_answer_to_its_failure() -> None:
    routes = Routes(SEEDS)
    before = routes.is_answering("a:1")
    routes.learn("a:1", {}, 0)
    between = routes.is_answering("a:1")
    routes.distrust("a:1", 0.0)
    assert (before, between, routes.is_answering("a:1")) == (False, True, False)
