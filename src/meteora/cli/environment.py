"""Variables whose names begin with METEORA_: those that somebody reads, and what is to be said of the others."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from meteora.cli.config_file import nearest
from meteora.cli.node_options import CONFIG_VARIABLE, is_service_link
from meteora.config import SETTINGS

_CLIENT_VARIABLES: Final = {
    f"METEORA_{name}"
    for name in ("ENDPOINTS", "CACERT", "CERT", "KEY", "SERVER_NAME", "USER", "PASSWORD", "PASSWORD_FILE")
}
"""What only the commands of clients read."""

_SERVICE_VARIABLE: Final = re.compile(
    r"METEORA(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""What Kubernetes tells all pods beside a service whose name begins with `meteora`."""


def warnings_of(environment: Mapping[str, str]) -> Iterator[str]:
    """What a user may have meant otherwise. No error: a variable may be another program's."""
    known = {setting.variable for setting in SETTINGS} | _CLIENT_VARIABLES | {CONFIG_VARIABLE}
    for name in sorted(environment):
        if is_service_link(name, environment):
            if name in known:
                yield f"{name} is passed over: Kubernetes has set it, for a service of that name"
        elif name.startswith("METEORA_") and name not in known and not _SERVICE_VARIABLE.fullmatch(name):
            yield f"{name} is set, and nobody reads it{nearest(name, known)}"
