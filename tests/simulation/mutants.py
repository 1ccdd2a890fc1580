"""Classic mistakes, each a small patch in memory: a simulation that doesn't find them would not find others either.

`python -m tests.simulation.mutants` looks for a seed that shows each, and fails unless all are found.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from meteora.errors import DiskFailure, StateDiverged
from meteora.kv import snapshots as kv_snapshots
from meteora.kv.command import Command
from meteora.kv.sessions import Outcome, Sessions
from meteora.kv.state import APPLIED_KEY, State, encode_position, load_state
from meteora.kv.state_machine import StateMachine
from meteora.node import snapshot_traffic
from meteora.node import snapshots as node_snapshots
from meteora.node.snapshots import Incoming, IncomingSnapshots
from meteora.observability.logs import configure
from meteora.raft import RawNode, core, follower
from meteora.raft.core import Raft
from meteora.raft.entry import Entry
from meteora.raft.errors import RaftError
from meteora.raft.leader import Leader
from meteora.raft.log import Log
from meteora.raft.membership import ConfChange, Configuration
from meteora.raft.message import HardState, Message, MessageKind
from meteora.raft.quorum import VoteResult, joint_committed, joint_vote
from meteora.raft.reads import PendingReads, ReadRequest
from meteora.raft.snapshot import Snapshot
from meteora.storage.raft_log import RaftLog
from meteora.storage.snapshot_files import Manifest
from meteora.testing.databases import SimulatedLog
from meteora.testing.disk import Disk
from meteora.testing.invariants import Invariants, Violation
from meteora.testing.simulation import Simulation

MAX_SEEDS = 200
VIRTUAL_SECONDS = 30.0

Mutant = Callable[[], AbstractContextManager[Any]]


def instead(owner: object, name: str, replacement: object) -> Mutant:
    return lambda: patch.object(owner, name, replacement)


def _not_waiting_for_the_disk(kind: MessageKind) -> Mutant:
    return instead(core, "SPEAK_FOR_THE_DISK", core.SPEAK_FOR_THE_DISK - {kind})


def _votes_for_anybody(raft: Raft, message: Message) -> None:
    """As the original, without a look at the vote it gave before."""
    before, raft.vote, leader_id, raft.leader_id = raft.vote, 0, raft.leader_id, 0
    _handle_vote_request(raft, message)
    raft.vote, raft.leader_id = raft.vote or before, leader_id


_handle_vote_request = Raft._handle_vote_request


def _commits_by_counting_alone(leader: Leader) -> bool:
    raft = leader._raft
    index = raft.configuration.committed({peer: progress.match for peer, progress in leader.progress.items()})
    if index <= raft.log.committed:
        return False
    raft.log.commit_to(index)
    for request in leader._take_early_reads():
        leader.read_index(request)
    return True


def _counts_itself_at_once(leader: Leader, entries: Sequence[Entry]) -> None:
    _append(leader, entries)
    leader.progress[leader._raft.node_id].acknowledged(leader._raft.log.last_index)


_append = Leader._append


def _confirms_without_a_quorum(reads: PendingReads, configuration: Configuration) -> list[tuple[ReadRequest, int]]:
    done = [(request, index) for request, (_, index) in reads._waiting.items()]
    reads._waiting.clear()
    return done


def _reads_before_its_first_commit(leader: Leader, request: ReadRequest) -> None:
    raft = leader._raft
    leader._reads.add(request, raft.log.committed)
    leader._reads.acknowledge(leader._reads.context, raft.node_id)
    leader._release_reads()
    if len(leader._reads):
        leader.broadcast_heartbeat(leader._reads.context)


def _cuts_off_what_matches(log: Log, index: int, term: int, entries: Sequence[Entry]) -> int | None:
    if not log.matches(index, term):
        return None
    new = [entry for entry in entries if entry.index > log.committed]
    log.append(new)
    return index + len(entries)


def _tells_everybody_its_commit(leader: Leader, context: bytes) -> None:
    for peer in leader._peers():
        leader._raft.send(MessageKind.HEARTBEAT, peer, commit=leader._raft.log.committed, context=context)


def _counts_learners(configuration: Configuration, matched: Any) -> int:
    return joint_committed(configuration.voters | configuration.learners, configuration.outgoing, matched)


def _lets_learners_vote(configuration: Configuration, votes: Any) -> VoteResult:
    return joint_vote(configuration.voters | configuration.learners, configuration.outgoing, votes)


@contextmanager
def _learners_in_the_quorum() -> Iterator[None]:
    with ExitStack() as patches:
        patches.enter_context(patch.object(Configuration, "committed", _counts_learners))
        patches.enter_context(patch.object(Configuration, "vote_result", _lets_learners_vote))
        yield


def _removes_nobody(configuration: Configuration, change: ConfChange) -> Configuration:
    after = _after(configuration, change)
    return after if after.voters >= configuration.voters else configuration


_after = Configuration.after


@contextmanager
def _changes_that_do_not_wait() -> Iterator[None]:
    with ExitStack() as patches:
        patches.enter_context(patch.object(RawNode, "has_pending_change", False))
        patches.enter_context(
            patch.object(Leader, "check_conf_change", lambda leader, change: leader._raft.configuration.after(change))
        )
        yield


def _applies_every_retry(sessions: Sessions, command: Command) -> Outcome:
    _judge(sessions, command)
    return Outcome.APPLIED


_judge = Sessions.judge


def _position_apart_from_the_data(machine: StateMachine, batch: Any, entries: Sequence[Entry]) -> None:
    """The data first, and the applied index with the batch after it: etcd's mistake in 3.5."""
    last = entries[-1]
    machine._database.write(batch)
    position = machine._new_batch()
    position.put(APPLIED_KEY, encode_position(machine.applied_index, machine.applied_term))
    _write(machine, position, entries)
    assert machine.applied_index == last.index


_write = StateMachine._write


async def _answers_before_the_sync(log: SimulatedLog) -> None:
    """As the original, but for all that it does."""


async def _syncs_again_after_a_failure(log: SimulatedLog) -> None:
    platter = log._platter
    await platter.work()
    try:
        await platter.guarded(platter.sync_log)
    except DiskFailure:
        await platter.guarded(platter.sync_log)


def _follows_old_leaders(raft: Raft, message: Message) -> None:
    is_old = message.kind is MessageKind.APPEND and message.term < raft.term
    _step(raft, message._replace(term=raft.term) if is_old else message)


_step = Raft.step


def _forgets_the_vote(disk: Disk) -> None:
    _crash(disk)
    disk.hard_state = disk.hard_state._replace(vote=0)


_crash = Disk.crash


def _without_vote(raft: Raft) -> HardState:
    return HardState(raft.term, 0, raft.log.committed)


def _takes_any_snapshot(raft: Raft, message: Message) -> None:
    """As the original, without a look at what is here."""
    assert message.snapshot is not None
    log, index = raft.log, message.snapshot.index
    log._snapshot, log._snapshot_handed_out = message.snapshot, False
    log._unstable.clear()
    log._unsettled_changes.clear()
    log._offset = log._handed_out = index + 1
    log.committed = log._applying = index


def _opens_for_any_snapshot(
    snapshots: IncomingSnapshots, sender: int, manifest: bytes, commit_index: int, take: Any
) -> Incoming:
    return _open(snapshots, sender, manifest, 0, take)


_open = IncomingSnapshots.open


@contextmanager
def _snapshots_over_newer_state() -> Iterator[None]:
    with ExitStack() as patches:
        patches.enter_context(patch.object(core, "handle_snapshot", _takes_any_snapshot))
        patches.enter_context(patch.object(follower, "handle_snapshot", _takes_any_snapshot))
        patches.enter_context(patch.object(IncomingSnapshots, "open", _opens_for_any_snapshot))
        yield


def _cuts_what_is_not_flushed() -> AbstractContextManager[Any]:
    applied_index = property(lambda machine: machine.applied_index, lambda machine, index: None)
    return patch.object(StateMachine, "flushed_index", applied_index, create=True)


async def _claims_one_entry_more(machine: StateMachine, directory: Path) -> Manifest | None:
    manifest = await _create_snapshot(machine, directory)
    return None if manifest is None else replace(manifest, index=manifest.index + 1)


_create_snapshot = StateMachine.create_snapshot


def _believes_the_manifest(pace: Any, database: Any, snapshot: Path, manifest: Manifest, target: Path) -> State:
    true = replace(manifest, index=manifest.index - 1)
    return _fill(pace, database, snapshot, true, target)._replace(index=manifest.index)


_fill = kv_snapshots._fill


@contextmanager
def _snapshots_at_a_wrong_index() -> Iterator[None]:
    with ExitStack() as patches:
        patches.enter_context(patch.object(StateMachine, "create_snapshot", _claims_one_entry_more))
        patches.enter_context(patch.object(kv_snapshots, "_fill", _believes_the_manifest))
        yield


def _without_the_last_voter(manifest: Manifest) -> Snapshot:
    snapshot = _snapshot_of(manifest)
    voters = sorted(snapshot.configuration.voters)
    configuration = snapshot.configuration._replace(voters=frozenset(voters[:-1] or voters))
    return snapshot._replace(configuration=configuration)


_snapshot_of = snapshot_traffic._snapshot_of


def _without_sessions(path: Path, database: Any) -> State:
    return load_state(path, database)._replace(sessions=Sessions())


async def _removes_the_old_state_first(
    state: State, state_machine: StateMachine, log: RaftLog, hard_state: HardState | None
) -> None:
    await state_machine.adopt(state)
    await log.reset(state.index, state.term, hard_state, state.path.name)


def _skips_some_writes(machine: Any, entries: Sequence[Entry], results: Any) -> None:
    """On one node only."""
    is_odd = machine._machine.node_id == 1
    with patch.object(Sessions, "judge", _calls_some_applied_before) if is_odd else nullcontext():
        _apply_run(machine, entries, results)


def _calls_some_applied_before(sessions: Sessions, command: Command) -> Outcome:
    outcome = _judge(sessions, command)
    return Outcome.DUPLICATE if command.sequence % 8 == 0 else outcome


_apply_run = StateMachine._apply_run


@contextmanager
def _one_node_applies_otherwise() -> Iterator[None]:
    """And nobody looks over its shoulder: the cluster itself has to notice."""
    with ExitStack() as patches:
        patches.enter_context(patch.object(StateMachine, "_apply_run", _skips_some_writes))
        for check in ("has_state", "_note_results", "acknowledged"):
            patches.enter_context(patch.object(Invariants, check, lambda *_: None))
        yield


MUTANTS: dict[str, Mutant] = {
    "votes twice in a term": instead(Raft, "_handle_vote_request", _votes_for_anybody),
    "answers a vote request before its vote is durable": _not_waiting_for_the_disk(MessageKind.VOTE_RESPONSE),
    "never persists its vote": instead(Raft, "hard_state", property(_without_vote)),
    "forgets its vote in a restart": instead(Disk, "crash", _forgets_the_vote),
    "votes for candidates whose log is behind": instead(Log, "is_up_to_date", lambda log, index, term: True),
    "commits entries of earlier terms by counting": instead(Leader, "_commit", _commits_by_counting_alone),
    "counts its own log before its disk has it": instead(Leader, "_append", _counts_itself_at_once),
    "acknowledges entries before they are durable": _not_waiting_for_the_disk(MessageKind.APPEND_RESPONSE),
    "answers before the fsync": instead(SimulatedLog, "_sync", _answers_before_the_sync),
    "syncs again after a failed fsync": instead(SimulatedLog, "_sync", _syncs_again_after_a_failure),
    "takes entries from leaders of earlier terms": instead(Raft, "step", _follows_old_leaders),
    "cuts off entries that match": instead(Log, "append_after", _cuts_off_what_matches),
    "tells a peer to commit what it may not have": instead(Leader, "broadcast_heartbeat", _tells_everybody_its_commit),
    "confirms reads without a quorum": instead(PendingReads, "confirmed", _confirms_without_a_quorum),
    "confirms reads before the first commit of its term": instead(Leader, "read_index", _reads_before_its_first_commit),
    "counts learners in the quorum": _learners_in_the_quorum,
    "goes on counting a removed member": instead(Configuration, "after", _removes_nobody),
    "changes the membership before the last change is applied": _changes_that_do_not_wait,
    "applies a retry twice": instead(Sessions, "judge", _applies_every_retry),
    "stores the applied index apart from the data": instead(StateMachine, "_write", _position_apart_from_the_data),
    "installs a snapshot over newer state": _snapshots_over_newer_state,
    "cuts off what the state has not flushed": _cuts_what_is_not_flushed,
    "takes a snapshot for one entry newer than it is": _snapshots_at_a_wrong_index,
    "tells the core other members than the snapshot has": instead(
        snapshot_traffic, "_snapshot_of", _without_the_last_voter
    ),
    "forgets in a snapshot what was applied": instead(kv_snapshots, "load_state", _without_sessions),
    "removes the old state before the log names the new one": instead(
        node_snapshots, "install", _removes_the_old_state_first
    ),
    "applies the log otherwise on one node": _one_node_applies_otherwise,
}
"""Each by what it does wrong."""


class Catch(NamedTuple):
    """The first seed that shows a mutant."""

    seed: int
    invariant: str
    summary: str


def hunt(name: str, max_seeds: int = MAX_SEEDS) -> Catch | None:
    """Run the seeds from 1 on with this mistake made, until one fails that doesn't fail without."""
    for seed in range(1, max_seeds + 1):
        with MUTANTS[name]():
            report = Simulation(seed, VIRTUAL_SECONDS).run()
        if report.failure is None or not is_clean(seed):
            continue
        if not isinstance(report.failure, Violation | RaftError | StateDiverged):
            raise report.failure  # This mutant doesn't do what it says.
        return Catch(seed, report.invariant, report.summary)
    return None


@cache
def is_clean(seed: int) -> bool:
    return Simulation(seed, VIRTUAL_SECONDS).run().failure is None


def main(names: Sequence[str]) -> int:
    began_at = time.monotonic()
    missed = 0
    for name in names or MUTANTS:
        catch = hunt(name)
        missed += catch is None
        found = f"seed {catch.seed:3}  {catch.invariant}" if catch else f"NOT FOUND in {MAX_SEEDS} seeds"
        print(f"{name:60} {found}", flush=True)  # noqa: T201
    print(f"{missed} missed of {len(names or MUTANTS)}, in {time.monotonic() - began_at:.0f} s")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    configure("error", "text")
    sys.exit(main(sys.argv[1:]))
