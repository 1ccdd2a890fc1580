"""Generates `src/meteora/pb` from `meteora-proto/proto`; with `--check`, only says whether it is current.

The protos import one another relative to their own folder, because users call them from there; the generated modules
live in a package, so their imports are rewritten. The stubs that say which request and reply a method has come from
mypy-protobuf: without them every reply would be `Any`.
"""

import argparse
import filecmp
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "meteora-proto" / "proto"
PACKAGE = ROOT / "src" / "meteora" / "pb"


def generate(target: Path) -> None:
    """Writes the generated modules into `target`. Raises `RuntimeError` if protoc fails."""
    names = [str(path) for path in sorted(PROTOS.glob("*.proto"))]
    builtin = Path(grpc_tools.__file__).parent / "_proto"
    plugin = f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).with_name('protoc-gen-mypy_grpc')}"
    outs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")] + [f"--mypy_grpc_out=quiet:{target}"]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{builtin}", plugin, *outs, *names]) != 0:
        raise RuntimeError("protoc failed")
    modules = "|".join(f"{Path(name).stem}_pb2" for name in names)
    for path in target.glob("*_pb2*.py*"):
        text = path.read_text()
        path.write_text(re.sub(rf"^import ({modules})\b", r"from meteora.pb import \1", text, flags=re.MULTILINE))
    for path in target.glob("*_pb2_grpc.py*"):
        # Of a file without services there is nothing to call or to serve.
        if "Stub:" not in path.read_text():
            path.unlink()
    (target / "__init__.py").write_text('"""Generated from meteora-proto/proto by `make proto`. Never edited."""\n')


def main() -> int:
    """The exit status: 1 if `--check` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the package is not current")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        expected = {path.name for path in fresh.iterdir()}
        present = {path.name for path in PACKAGE.glob("*.py*")}
        _, different, missing = filecmp.cmpfiles(fresh, PACKAGE, expected, shallow=False)
        stale = sorted({*different, *missing, *(present - expected)})
        if check:
            if stale:
                print(f"meteora/pb is not what `make proto` generates: {', '.join(stale)}", file=sys.stderr)
            return 1 if stale else 0
        for name in present - expected:
            (PACKAGE / name).unlink()
        for name in expected:
            (PACKAGE / name).write_text((fresh / name).read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
