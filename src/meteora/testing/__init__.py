"""What programs on Meteora, and Meteora itself, are tested with: histories, and the linearizability checker.

Nothing in the product imports this room.
"""

from meteora.testing.history import History, Operation, OperationKind
from meteora.testing.linearizability import Verdict, check_history, check_key

__all__ = ["History", "Operation", "OperationKind", "Verdict", "check_history", "check_key"]
