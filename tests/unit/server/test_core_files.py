import subprocess
import sys

FORGOING = """
import resource
from meteora.server.core_files import write_none
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
write_none()
print(resource.getrlimit(resource.RLIMIT_CORE) == (0, hard))
"""


def test_a_node_leaves_no_core_file_and_whoever_needs_one_may_raise_the_limit() -> None:
    # In a process of its own, as the limit is one of the process.
    outcome = subprocess.run([sys.executable, "-c", FORGOING], capture_output=True, text=True, check=True)
    assert outcome.stdout == "True\n"
