"""No core files: what a node has in memory, its keys and tokens among it, is not for who finds one."""

import resource


def write_none() -> None:
    """Has this process leave none, until somebody raises its limit again from outside (`prlimit --core`)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
