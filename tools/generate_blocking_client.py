"""Generates the blocking client from the asyncio one; with `--check`, only says whether it is current.

What waits in one waits in the other: `await` goes away, names that say which of the two it is are replaced, and the
formatter has the last word. Anything that needs more than that belongs into `async_wire.py` and `blocking_wire.py`,
which are written by hand.
"""

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "src" / "meteora" / "client"
SOURCE = CLIENT / "async_client.py"
TARGET = CLIENT / "blocking_client.py"

MAX_LINE_CHARACTERS = 120

REPLACEMENTS = (
    # The words of the module and the class about themselves come first: they hold words that are replaced below.
    (r"^The asyncio client of a Meteora cluster\.", "The blocking client of a Meteora cluster."),
    (
        r"^`blocking_client\.py` is generated from this file, so only what waits stands here\.",
        "Generated from `async_client.py` by `tools/generate_blocking_client.py`, and never edited.",
    ),
    (r"any number of tasks on one event loop", "any number of threads"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\baclosing\b", "closing"),
    (r"\bAsyncWire\b", "BlockingWire"),
    (r"\basync_wire\b", "blocking_wire"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
)

LEFTOVERS = re.compile(r"async(?!_client\.py)|await", re.IGNORECASE)
"""What must not be left: it would mean that a replacement is missing."""


def blocking(source: str) -> str:
    """The blocking twin of an asyncio client's source. Raises `ValueError` if a replacement has become useless."""
    text = source.removeprefix('"""')
    for pattern, replacement in REPLACEMENTS:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count == 0:
            raise ValueError(f"nothing in {SOURCE.name} matches {pattern!r} any more")
    if leftover := LEFTOVERS.search(text):
        line = text.count("\n", 0, leftover.start()) + 1
        raise ValueError(f"{SOURCE.name}:{line}: no replacement covers {leftover[0]!r}")
    return formatted('"""' + text)


def formatted(source: str) -> str:
    """`source` with its imports in order and its lines broken as ruff breaks them."""
    for arguments in (
        ["check", "--quiet", "--isolated", "--select", "I", "--fix", "--config", 'src = ["src"]'],
        ["format", "--quiet", "--isolated", "--line-length", str(MAX_LINE_CHARACTERS)],
    ):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET), "-"]
        source = subprocess.run(command, input=source, stdout=subprocess.PIPE, text=True, check=True).stdout
    return source


def difference(present: str, expected: str) -> str:
    """What regenerating would change, as a unified diff."""
    lines = (present.splitlines(keepends=True), expected.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, fromfile=TARGET.name, tofile=f"{TARGET.name} (generated)"))


def main() -> int:
    """The exit status: 1 if `--check` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the client is not current")
    check = parser.parse_args().check
    expected = blocking(SOURCE.read_text())
    present = TARGET.read_text() if TARGET.exists() else ""
    if check and present != expected:
        print(f"{TARGET.name} is not what `make fix` generates from {SOURCE.name}:", file=sys.stderr)
        print(difference(present, expected), file=sys.stderr)
        return 1
    if not check:
        TARGET.write_text(expected)
    return 0


if __name__ == "__main__":
    sys.exit(main())
