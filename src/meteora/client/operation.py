"""One request across all its attempts: whom to ask next, how long to wait, and what is known in the end.

Pure: time and chance are handed in. The rules:

- All attempts together keep within one deadline. An attempt gets an equal share of what is left among the endpoints
  that were not asked yet in this round, so that a node that hangs is left while there is time to ask another.
- Each endpoint is asked once a round. Between rounds, and after a node that has too much to do, there is a pause that
  doubles, with jitter so that clients that failed together don't come back together.
- A write is handed only to an endpoint that answers: one that is not known to is first asked how it is. So a node
  that can't be reached never leaves a write in doubt, and the first write already finds the leader.
- A write that one attempt left in doubt stays in doubt, whatever later attempts were told: only an answer ends that.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from meteora.client.fate import Failure, Fate, failure_of_state
from meteora.client.methods import MemberReply, MemberReplyT, Method, RequestT
from meteora.client.routing import Routes
from meteora.errors import NotApplied, OutcomeUnknown, Overloaded, RequestError
from meteora.pb import raft_pb2

MIN_ATTEMPT_SECONDS: Final = 0.1
"""No share is shorter, and no other attempt begins with less time left: a node that is merely busy must have a chance
to answer, because a write that it got and did not answer is in doubt."""

FIRST_PAUSE_SECONDS: Final = 0.05
MAX_PAUSE_SECONDS: Final = 0.5
"""Half of the shortest election: a new leader is found soon after there is one."""


class Attempt(NamedTuple):
    """What to do next: pause, then send to the endpoint and wait for the answer."""

    endpoint: str
    pause_seconds: float
    timeout_seconds: float
    is_probe: bool
    """Whether to ask for the status of the node, instead of sending the request."""
    is_retry: bool
    """Whether an earlier attempt may have been applied, or yet be: what a write says of itself as `retry`."""


def pause_seconds(earlier_pauses: int, chance: float) -> float:
    """How long to pause after that many pauses. `chance`, from 0 to 1, spreads it over the upper half."""
    longest_seconds = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(earlier_pauses, 10))
    return longest_seconds * (0.5 + 0.5 * chance)


class Operation:
    """The state of one request until it is answered or given up."""

    def __init__(
        self,
        method: Method[RequestT, MemberReplyT],
        routes: Routes,
        timeout_seconds: float,
        now_seconds: float,
        chance: Callable[[], float],
    ) -> None:
        self._method_name = method.name
        self._is_write = method.is_write
        self._needed = "a majority of the nodes runs and" if method.needs_majority else "a node runs there and"
        self._routes = routes
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = now_seconds + timeout_seconds
        self._chance = chance
        self._asked_this_round: set[str] = set()
        self._is_begun = False
        self._pauses = 0
        self._must_pause = False
        self._is_in_doubt = False
        self._is_overloaded = False
        self._reasons: dict[str, str] = {}

    def next_attempt(self, now_seconds: float) -> Attempt:
        """What to try next. Raises the final error, a `RequestError`, if there is no time left to try anything."""
        candidates = self._candidates(now_seconds)
        pause = self._next_pause_seconds()
        left_seconds = self._deadline_seconds - now_seconds - pause
        if left_seconds < MIN_ATTEMPT_SECONDS and self._is_begun:
            raise self._given_up(f"within {self._timeout_seconds:g} s")
        self._is_begun = True
        endpoint = candidates[0]
        timeout_seconds = min(max(left_seconds / len(candidates), MIN_ATTEMPT_SECONDS), left_seconds)
        is_probe = self._is_write and not self._routes.is_answering(endpoint)
        if not is_probe:
            self._asked_this_round.add(endpoint)
        return Attempt(endpoint, pause, timeout_seconds, is_probe, self._is_in_doubt)

    def _candidates(self, now_seconds: float) -> list[str]:
        order = self._routes.order(now_seconds)
        if not self._asked_this_round:
            return order
        candidates = [endpoint for endpoint in order if endpoint not in self._asked_this_round]
        if candidates:
            return candidates
        self._asked_this_round.clear()
        self._must_pause = True
        return order

    def _next_pause_seconds(self) -> float:
        if not self._must_pause:
            return 0.0
        self._must_pause = False
        self._pauses += 1
        return pause_seconds(self._pauses - 1, self._chance())

    def probed(self, attempt: Attempt, result: raft_pb2.NodeStatusReply | Failure, now_seconds: float) -> None:
        """Takes note of what came of a probe. Raises the final error, a `RequestError`, if no attempt would help."""
        if not isinstance(result, Failure):
            self._routes.learn(attempt.endpoint, _kv_addresses(result), result.leader_id)
            return
        self._asked_this_round.add(attempt.endpoint)
        # The write itself was not sent.
        fate = Fate.UNSERVED if result.fate is Fate.UNKNOWN else result.fate
        self.failed(attempt, replace(result, fate=fate), now_seconds)

    def is_answered(self, attempt: Attempt, reply: MemberReply, now_seconds: float) -> bool:
        """Learns from a reply. False if it sends the request elsewhere, as WRONG_LEADER does."""
        if not self._routes.has_learned(attempt.endpoint, reply):
            self._routes.learn(attempt.endpoint, _kv_addresses(reply), reply.leader_id, reply)
        failure = None if isinstance(reply, raft_pb2.NodeStatusReply) else failure_of_state(reply.state)
        if failure is not None:
            self.failed(attempt, failure, now_seconds)
        return failure is None

    def failed(self, attempt: Attempt, failure: Failure, now_seconds: float) -> None:
        """Takes note of an attempt that failed. Raises the final error, a `RequestError`, if no other would help."""
        self._reasons[attempt.endpoint] = failure.reason
        if failure.fate in {Fate.UNSERVED, Fate.UNKNOWN}:
            self._routes.distrust(attempt.endpoint, now_seconds)
        if failure.fate is not Fate.UNSERVED:
            self._is_overloaded = self._must_pause = failure.fate is Fate.OVERLOADED
        self._is_in_doubt |= self._is_write and failure.fate is Fate.UNKNOWN
        if failure.fate is Fate.REFUSED:
            raise self._refused(failure)

    def _refused(self, failure: Failure) -> RequestError:
        if self._is_in_doubt:
            return self._given_up("before it was refused")
        return failure.error(f"the {self._method_name} was refused: {failure.reason}")

    def _given_up(self, when: str) -> RequestError:
        asked = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in self._reasons.items()) or "no answer"
        if self._is_in_doubt:
            return OutcomeUnknown(
                f"no answer to the {self._method_name} {when}: it may have been applied, or yet be, or not ({asked})."
                " Look at what is there before trying again"
            )
        if self._is_overloaded:
            return Overloaded(
                f"the {self._method_name} was not taken {when}: the cluster has too much to do ({asked})."
                f" {self._advice('try again later')}"
            )
        return NotApplied(
            f"nobody served the {self._method_name} {when} ({asked})."
            f" {self._advice(f'check that {self._needed} can be reached, then try again')}"
        )

    def _advice(self, what: str) -> str:
        """What to do now. Of a read there is nothing that could have been done."""
        return f"Nothing was done; {what}" if self._is_write else what.capitalize()


def _kv_addresses(reply: MemberReply) -> dict[int, str]:
    if isinstance(reply, raft_pb2.NodeStatusReply):
        return {member.id: member.address.kv_address for member in reply.members}
    return {node_id: address.kv_address for node_id, address in reply.address_map.items()}
