"""The public APIs, and the wiring: what `meteora start` runs.

`run` reads the configuration and starts the parts in order (`assembly`); the services translate between the wire and
the node and decide nothing themselves, but for the order of membership changes (`cluster`).
"""

from meteora.server.run import run

__all__ = ["run"]
