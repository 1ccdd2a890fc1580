"""A user's name and password, and the token that they have brought. Pure: who waits is the client.

Rule: nobody logs in before a node asks for it. A token that is not taken any more is replaced by another login, once
for all who have used it.
"""

from dataclasses import replace

from meteora.client.fate import Failure, Fate
from meteora.errors import ChangeRefused, ConfigurationError, Unauthenticated
from meteora.pb import auth_pb2


class Login:
    """What a client says of who uses it."""

    def __init__(self, username: str | None, password: str | None) -> None:
        """Raises `ConfigurationError` for one without the other."""
        if (username is None) != (password is None):
            raise ConfigurationError("username and password go together: give both, or neither")
        self._username = username
        self._password = password
        self.token = ""
        """Empty while there is none."""

    @property
    def is_given(self) -> bool:
        """Whether there is a name to log in with."""
        return self._username is not None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...] | None:
        """What goes with each request."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else None

    @property
    def request(self) -> auth_pb2.AuthenticateReq:
        """What brings a token."""
        return auth_pb2.AuthenticateReq(name=self._username or "", password=self._password or "")

    def is_needed(self, result: object) -> bool:
        """Whether a request has failed for want of a valid token, and this could bring one."""
        is_refused = isinstance(result, Failure) and result.error is Unauthenticated
        return is_refused and self._username is not None

    def took(self, result: auth_pb2.AuthenticateReply | Failure) -> Failure | None:
        """Keep the token that a login has brought; why there is none, else."""
        if not isinstance(result, Failure):
            self.token = result.token
            return None
        self.token = ""
        if result.error is ChangeRefused:
            return None  # Users are not enabled any more: the request needs no token.
        # The request itself was not sent.
        return replace(result, fate=Fate.NOT_APPLIED) if result.fate is Fate.UNKNOWN else result
