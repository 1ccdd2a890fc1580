"""On what and with what the benchmark ran: the machine, how long its disk takes to fsync, and every version."""

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

from bench import etcd_system, meteora_system, pysyncobj_system, redis_system

FSYNCS: Final = 200
BLOCK_BYTES: Final = 4096

PACKAGES: Final = ("aetcd", "grpcio", "hpack", "protobuf", "pysyncobj", "rocksdict", "uvloop")

MEMORY_FILE_SYSTEMS: Final = ("tmpfs", "ramfs")


def machine(folder: Path) -> dict[str, str]:
    """What it is, and the disk under this folder."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": file_system(folder),
        "fdatasync of 4 KiB appended": f"{fsync_ms(folder, preallocated=False):.2f} ms (median of {FSYNCS})",
        "fdatasync of 4 KiB overwritten": f"{fsync_ms(folder, preallocated=True):.2f} ms (median of {FSYNCS})",
        "load before the run": f"{os.getloadavg()[0]:.2f}",
        "niceness": str(os.nice(0)),
    }


def versions() -> dict[str, str]:
    """Of all that takes part."""
    return {
        "meteora": f"{meteora_system.MeteoraCluster.version()}{_commit()}",
        "python": platform.python_version(),
        "etcd": etcd_system.EtcdCluster.version(),
        "redis": redis_system.version(),
        "h2load": subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        **{package: _package(package) for package in PACKAGES},
    }


def settings() -> dict[str, str]:
    """Of the systems."""
    return {
        "meteora": meteora_system.SETTINGS,
        "etcd": etcd_system.SETTINGS,
        "redis": redis_system.SETTINGS,
        "pysyncobj": pysyncobj_system.SETTINGS,
    }


def file_system(folder: Path) -> str:
    """Its type, for instance ext4."""
    line = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(folder)]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def fsync_ms(folder: Path, *, preallocated: bool) -> float:
    """How long a small write takes to reach the disk, as the median of some.

    Where the file has been written before, the disk has less to do than where it grows: its length stays as it is.
    """
    path = folder / "fsync"
    path.write_bytes(bytes(FSYNCS * BLOCK_BYTES) if preallocated else b"")
    taken: list[float] = []
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
        for _ in range(FSYNCS):
            start = time.perf_counter()
            file.write(b"x" * BLOCK_BYTES)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - start) * 1000)
    path.unlink()
    return median(taken)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit of the source, with a plus if it has changes that aren't committed; nothing outside of a clone."""
    line = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
