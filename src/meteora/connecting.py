"""What gRPC says of a node that it can't connect to, in plain words.

Pure: only texts come in, so that whoever calls nodes can say it alike, whatever it calls them with.
"""


def why_not_connected(details: str) -> str | None:
    """Why there is no connection, for users, by what gRPC says; None if it speaks of something else."""
    if details.startswith("failed to connect to all addresses"):
        return f"can't be connected to: {details.rpartition(': ')[2]}"
    if details.startswith("errors resolving"):
        return f"its name can't be looked up: {details.rpartition(': ')[2].rstrip(']')}"
    return None
