"""Meteora: a distributed key-value store. Raft for agreement, RocksDB on disk, gRPC on the wire."""

__version__ = "0.2.0"

__all__ = ["__version__"]
