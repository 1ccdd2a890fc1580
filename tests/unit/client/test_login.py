import pytest

from meteora.client.fate import Failure, Fate
from meteora.client.login import Login
from meteora.errors import ChangeRefused, ConfigurationError, PermissionDenied, Unauthenticated
from meteora.pb import auth_pb2

UNKNOWN_CALLER = Failure(Fate.REFUSED, "who is it?", Unauthenticated)


@pytest.fixture
def login() -> Login:
    return Login("alice", "secret")


def test_without_a_token_nothing_is_said(login: Login) -> None:
    assert login.metadata is None
    assert login.request == auth_pb2.AuthenticateReq(name="alice", password="secret")


def test_a_token_goes_with_each_request(login: Login) -> None:
    assert login.took(auth_pb2.AuthenticateReply(token="t")) is None
    assert login.metadata == (("authorization", "Bearer t"),)


def test_only_a_caller_that_is_not_known_is_asked_to_log_in(login: Login) -> None:
    assert login.is_needed(UNKNOWN_CALLER)
    assert not login.is_needed(Failure(Fate.REFUSED, "no", PermissionDenied))
    assert not login.is_needed(auth_pb2.AuthReply())
    assert not Login(None, None).is_needed(UNKNOWN_CALLER)


def test_a_login_that_fails_ends_the_token(login: Login) -> None:
    login.took(auth_pb2.AuthenticateReply(token="t"))
    assert login.took(UNKNOWN_CALLER) is UNKNOWN_CALLER
    assert login.metadata is None


def test_a_login_without_an_answer_leaves_no_request_in_doubt(login: Login) -> None:
    failure = login.took(Failure(Fate.UNKNOWN, "no answer in time"))
    assert failure == Failure(Fate.NOT_APPLIED, "no answer in time")


def test_where_users_are_not_enabled_any_more_no_token_is_needed(login: Login) -> None:
    assert login.took(Failure(Fate.REFUSED, "users are not enabled", ChangeRefused)) is None
    assert login.metadata is None


@pytest.mark.parametrize(("username", "password"), [("alice", None), (None, "secret")])
def test_a_name_and_a_password_go_together(username: str | None, password: str | None) -> None:
    with pytest.raises(ConfigurationError):
        Login(username, password)
