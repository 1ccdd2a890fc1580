from bench import redis_system
from bench.results import P50, P99, THROUGHPUT

OUTPUT = """\
"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","17182.13","14.5","5.3","13.9","20.5","28.1","31.0"
"""


def test_throughput_and_percentiles_are_read_from_redis_benchmark() -> None:
    assert redis_system.parse(OUTPUT, "put") == {("put", THROUGHPUT): 17182.13, ("put", P50): 13.9, ("put", P99): 28.1}
