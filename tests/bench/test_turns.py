from bench.results import THROUGHPUT, Sample
from bench.turns import Turn, take_turns


def test_the_systems_run_by_turns_and_each_has_its_samples_in_the_order_of_the_rounds() -> None:
    ran: list[str] = []

    def turn(system: str) -> Turn:
        def run() -> Sample:
            ran.append(system)
            return {("put", THROUGHPUT): float(len(ran))}

        return run

    samples = take_turns({"a": turn("a"), "b": turn("b")}, 3, lambda _: None)
    assert ran == ["a", "b", "a", "b", "a", "b"]
    assert [sample["put", THROUGHPUT] for sample in samples["b"]] == [2.0, 4.0, 6.0]
