"""The coverage-guided engine: `python -m tests.fuzz.run --seconds 300 [target ...]`. Needs the extra `fuzz`.

Each target runs in a process of its own, for its share of the time. A case that fails is written to `--crashes`, under
the target's name; from there a person moves it into the corpus, under a name that says what it is. The cases that it
finds of interest are kept in `--found`, out of the repo; `--merge` takes from there what reaches code that the corpus
doesn't.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")

MAX_CASE_BYTES = 4096
"""Of one case: every choice that a target makes fits."""

MAX_KEPT_BYTES = 2048
"""Of a case that is merged into the corpus."""

MAX_MEMORY_MB = 2048

_SUMMARY = re.compile(r"^#(\d+)\s+(?:DONE|INITED|NEW|pulse|REDUCE|RELOAD)\s+cov: (\d+)", re.MULTILINE)


def fuzz(name: str, arguments: list[str]) -> None:
    """Runs one target in this process, which ends with it."""
    import atheris  # noqa: PLC0415  not everybody has it

    with atheris.instrument_imports(include=["meteora"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  is instrumented as it is imported

    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def _run(name: str, seconds: int, found: Path, crashes: Path) -> int:
    for path in (found / name, crashes, CORPUS / name):
        path.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    process = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.run", "--inside", name),
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


def _merge(name: str, found: Path) -> int:
    """Takes what reaches new code, smallest first, into the corpus."""
    (found / name).mkdir(parents=True, exist_ok=True)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.run", "--inside", name, "-merge=1", f"-max_len={MAX_KEPT_BYTES}"),
            *(str(CORPUS / name), str(found / name)),
        ],
        check=False,
    ).returncode


def main() -> int:
    """The exit status: 0 if nothing was found."""
    if sys.argv[1:2] == ["--inside"]:
        fuzz(sys.argv[2], sys.argv[3:])
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415  must not be imported before it is instrumented

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
        return max(_merge(name, options.found) for name in names)
    share = max(1, options.seconds // len(names))
    return max(abs(_run(name, share, options.found, options.crashes)) for name in names) and 1


if __name__ == "__main__":
    sys.exit(main())
