"""Meteora beside etcd, redis and PySyncObj: same machine, same disk, same load, in turns. `make bench` runs it.

Every system is a real process, as its package installs it. What is measured, and what to beware of when reading it, is
told in docs/performance.md. Nothing here is shipped in the wheel.
"""
