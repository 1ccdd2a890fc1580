"""The coverage-guided engine: `python -m tests.fuzz.run --seconds 300 [target ...]`. Needs the extra `fuzz`.

Each target runs in a process of its own, for its share of the time. A case that fails is written to `--crashes`, under
the target's name; from there a person moves it into the corpus, under a name that says what it is. The cases that it
finds of interest are kept in `--found`, out of the repo; `--merge` takes from there what reaches code that the corpus
doesn't.
"""

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.targets import TARGETS, target_of

CORPUS = Path(__file__).with_name("corpus")

MAX_CASE_BYTES = 4096
"""Of one case: every choice that a target makes fits."""

MAX_KEPT_BYTES = 2048
"""Of a case that is merged into the corpus."""

MAX_MEMORY_MB = 2048

_MERGED = re.compile(r"MERGE-OUTER: (\d+ new files .*)")
_SUMMARY = re.compile(r"^#(\d+)\s+(?:DONE|INITED|NEW|pulse|REDUCE|RELOAD)\s+cov: (\d+)", re.MULTILINE)


def fuzz(name: str, arguments: list[str]) -> None:
    """Runs one target in this process, which ends with it. The first of libFuzzer's arguments is its program."""
    import atheris  # noqa: PLC0415  not everybody has it

    with atheris.instrument_imports(include=["meteora"]):
        # Is instrumented as it is imported.
        target = target_of(name)
    atheris.Setup(arguments, target)
    atheris.Fuzz()


def _run(name: str, seconds: int, found: Path, crashes: Path) -> int:
    for path in (found / name, crashes, CORPUS / name):
        path.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    process = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.run", "--inside", name, name),
            *(str(found / name), str(CORPUS / name)),
            *(f"-max_total_time={seconds}", f"-max_len={MAX_CASE_BYTES}", "-timeout=20"),
            *(f"-rss_limit_mb={MAX_MEMORY_MB}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    taken = time.monotonic() - began
    (crashes / f"{name}.log").write_text(process.stdout + process.stderr)
    cases, edges = (_SUMMARY.findall(process.stderr) or [("0", "0")])[-1]
    outcome = "ok" if process.returncode == 0 else f"FAILED: see {crashes}/{name}.log"
    print(f"{name:22} {cases:>9} cases {int(cases) / taken:8.0f}/s {edges:>6} edges  {outcome}", flush=True)  # noqa: T201
    return process.returncode


def merge(name: str, found: Path, corpus: Path) -> bool:
    """Takes what reaches new code, and as little as will do, into the corpus; whether it could be done."""
    for path in (found / name, corpus / name):
        path.mkdir(parents=True, exist_ok=True)
    if not any((found / name).iterdir()):
        print(f"{name:22} nothing was found")  # noqa: T201
        return True
    with TemporaryDirectory() as scratch:
        # libFuzzer runs its program once more, to outlive a case that ends it.
        program = Path(scratch, name)
        command = shlex.join([sys.executable, "-m", "tests.fuzz.run", "--inside", name])
        program.write_text(f'#!/bin/sh\nexec {command} "$0" "$@"\n')
        program.chmod(0o755)
        process = subprocess.run(
            # By the edges alone: how often each is passed would keep ten times as many.
            [
                program,
                "-set_cover_merge=1",
                "-use_counters=0",
                f"-max_len={MAX_KEPT_BYTES}",
                corpus / name,
                found / name,
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    # libFuzzer says that it is done with nothing, too, where its program can't be run.
    is_done = process.returncode == 0 and "MERGE-OUTER: successful" in process.stderr
    outcome = _MERGED.findall(process.stderr)
    print(f"{name:22} {outcome[-1] if is_done else 'FAILED: ' + process.stderr[-2000:]}", flush=True)  # noqa: T201
    return is_done


def main() -> int:
    """The exit status: 0 if nothing was found."""
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="Fuzzes with atheris.")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all if none is named")
    parser.add_argument("--seconds", type=int, default=300, help="of all targets together")
    parser.add_argument("--found", type=Path, default=Path(".fuzz/found"), help="keeps cases of interest")
    parser.add_argument("--crashes", type=Path, default=Path(".fuzz/crashes"), help="keeps cases that failed")
    parser.add_argument("--merge", action="store_true", help="fuzz nothing: take cases into the corpus")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.merge:
        return int(max(not merge(name, options.found, CORPUS) for name in names))
    share = max(1, options.seconds // len(names))
    return max(abs(_run(name, share, options.found, options.crashes)) for name in names) and 1


if __name__ == "__main__":
    sys.exit(main())
