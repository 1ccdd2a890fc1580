import pytest

from meteora.tls import PeerCertificate


@pytest.mark.parametrize(
    ("listed", "is_borne"),
    [
        (("node1",), True),
        (("a.example",), True),
        (("A.Example",), True),
        (("10.0.0.1",), True),
        (("*.b.example",), True),
        (("other", "NODE1"), True),
        (("node",), False),
        (("node12",), False),
        (("x.b.example",), False),
        (("example",), False),
        ((), False),
    ],
)
def test_one_of_its_names_must_be_listed_to_the_letter(listed: tuple[str, ...], is_borne: bool) -> None:
    certificate = PeerCertificate("node1", ("a.example", "10.0.0.1", "*.b.example"))
    assert certificate.bears_one_of(listed) is is_borne


def test_each_name_is_told_once_the_common_name_first() -> None:
    assert PeerCertificate("b", ("a", "b")).names == ("b", "a")


def test_without_a_common_name_there_are_the_others() -> None:
    assert PeerCertificate(None, ("a",)).names == ("a",)
