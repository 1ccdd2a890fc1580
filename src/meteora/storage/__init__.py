"""The only room that knows RocksDB: the wrapper, the raft log, and the data directory that holds them."""
