import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from meteora.errors import ConfigurationError
from meteora.tls import Certificates, TlsFiles, certificates
from tests.certificates import LONG_AGO, SOON, YESTERDAY, Authority

PATIENCE_SECONDS = 20.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "POLL_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def all_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="meteora"):
        yield


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if event in record.getMessage()]


def refusal(files: TlsFiles) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Certificates(files)
    return str(refused.value)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watched(found: Certificates) -> Any:
    watching = asyncio.create_task(found.watch())
    try:
        yield found
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


# At the start


def test_a_file_that_is_not_there_is_named_with_its_option(authority: Authority) -> None:
    files = authority.files("node")
    files.key.unlink()
    assert refusal(files) == f"--key-file {files.key} can't be read: No such file or directory"


def test_the_option_of_the_other_port_is_named_for_that(authority: Authority) -> None:
    files = authority.files("node", prefix="--peer-")
    files.cert.unlink()
    assert refusal(files).startswith(f"--peer-cert-file {files.cert} can't be read")


def test_a_key_of_another_certificate_is_named_with_both_files(authority: Authority) -> None:
    files = authority.files("node")._replace(key=authority.issue("other").key)
    assert refusal(files) == f"--key-file {files.key} does not belong to --cert-file {files.cert}"


@pytest.mark.parametrize(("field", "option"), [("cert", "--cert-file"), ("ca", "--trusted-ca-file")])
@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\n", "\u00e9"])
def test_what_is_no_certificate_is_named(authority: Authority, field: str, option: str, content: str) -> None:
    files = authority.files("node")
    getattr(files, field).write_text(content)
    assert refusal(files) == f"{option} {getattr(files, field)} holds no certificate in PEM that can be read"


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_what_is_no_key_is_named(authority: Authority, content: str) -> None:
    files = authority.files("node")
    files.key.write_text(content)
    assert refusal(files).startswith(f"--key-file {files.key} can't be used with --cert-file {files.cert}: ")


def test_nobody_is_asked_for_the_password_of_a_key(authority: Authority) -> None:
    files = authority.files("node")
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
    )
    assert refusal(files) == f"--key-file {files.key} is encrypted: a node has nobody to ask for the password"


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_key_that_others_can_read_is_told_of(
    authority: Authority, mode: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.files("node")
    files.key.chmod(mode)
    Certificates(files)
    assert bool(told(caplog, "others on this host can read a key")) is is_told


@pytest.mark.parametrize(
    ("not_before", "not_after", "event"),
    [
        (LONG_AGO, YESTERDAY, "a certificate has expired"),
        (LONG_AGO, SOON, "a certificate expires soon"),
        (SOON, None, "a certificate is not valid yet"),
    ],
)
def test_a_certificate_that_others_will_refuse_is_told_of(
    authority: Authority,
    not_before: datetime,
    not_after: datetime | None,
    event: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Certificates(authority.files("node", not_before=not_before, not_after=not_after))
    assert len(told(caplog, event)) == 1


def test_of_a_good_one_nothing_is_told(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    Certificates(authority.files("node"))
    assert not caplog.records


def test_when_it_ends_can_be_exported(authority: Authority) -> None:
    found = Certificates(authority.files("node", not_before=LONG_AGO, not_after=SOON))
    assert found.counters.expires_at == SOON.replace(microsecond=0)


def test_no_text_of_it_has_the_key(authority: Authority) -> None:
    found = Certificates(authority.files("node"))
    assert "PRIVATE" not in f"{found!r} {found.current!r}"


# Changes


def test_a_change_is_taken_up(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with watched(Certificates(authority.files("node"))) as found:
            before = found.current
            authority.issue("node")
            await until(lambda: found.current is not before)
            assert found.current.cert_pem == found.files.cert.read_bytes() != before.cert_pem
            assert found.counters.reloads == 1

    run(story())
    assert len(told(caplog, "new certificates are in use")) == 1


def test_a_new_key_that_others_can_read_is_told_of(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with watched(Certificates(authority.files("node"))) as found:
            authority.issue("node").key.chmod(0o644)
            await until(lambda: found.counters.reloads)

    run(story())
    assert len(told(caplog, "others on this host can read a key")) == 1


def test_a_new_authority_is_taken_up(authority: Authority, tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(Certificates(authority.files("node"))) as found:
            other = Authority(tmp_path / "other")
            other.ca.replace(authority.ca)
            await until(lambda: found.counters.reloads)
            assert found.current.ca_pem == authority.ca.read_bytes()

    run(story())


def test_a_link_that_leads_elsewhere_is_a_change(authority: Authority, tmp_path: Path) -> None:
    link = tmp_path / "current"
    first, second = authority.issue("first"), authority.issue("second")
    link.mkdir()
    for name, target in (("cert", first.cert), ("key", first.key)):
        (link / name).symlink_to(target)

    async def story() -> None:
        async with watched(Certificates(TlsFiles(link / "cert", link / "key", None, "--"))) as found:
            for name, target in (("cert", second.cert), ("key", second.key)):
                (link / "new").symlink_to(target)
                (link / "new").replace(link / name)
            await until(lambda: found.counters.reloads)
            assert found.current.cert_pem == second.cert.read_bytes()

    run(story())


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
def test_what_is_broken_leaves_the_old_ones_in_use_and_is_told_once(
    authority: Authority, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with watched(Certificates(authority.files("node"))) as found:
            before = found.current
            await asyncio.to_thread(getattr(found.files, broken).write_text, "nonsense")
            await until(lambda: found.counters.failed_reloads)
            # Several more looks at the same: nothing more is told.
            await asyncio.sleep(10 * certificates.POLL_SECONDS)
            assert found.current is before
            assert (found.counters.reloads, found.counters.failed_reloads) == (0, 1)

    run(story())
    (line,) = told(caplog, "new certificates can't be used: the old ones stay in use")
    assert f"{broken}." in line or f"{broken}-file" in line


def test_half_a_new_pair_leaves_the_old_one_in_use_until_the_other_half_is_there(
    authority: Authority, tmp_path: Path
) -> None:
    async def story() -> None:
        files = authority.files("node")
        new = Authority(tmp_path / "other").issue("node")
        async with watched(Certificates(files)) as found:
            before = found.current
            new.cert.replace(files.cert)
            await until(lambda: found.counters.failed_reloads)
            assert found.current is before
            new.key.replace(files.key)
            await until(lambda: found.counters.reloads)
            assert found.current.key_pem == files.key.read_bytes()

    run(story())


def test_a_file_that_is_gone_for_a_while_leaves_the_old_ones_in_use(authority: Authority) -> None:
    async def story() -> None:
        async with watched(Certificates(authority.files("node"))) as found:
            before = found.current
            found.files.cert.unlink()
            await until(lambda: found.counters.failed_reloads)
            assert found.current is before
            authority.issue("node")
            await until(lambda: found.counters.reloads)

    run(story())


def test_what_could_not_be_read_is_tried_again_although_no_file_was_written(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """As when its owner or its mode is put right, or when there are file handles again."""

    def replace_within(path: Path, content: bytes) -> None:
        """In a way that `stat` does not tell."""
        before = path.stat()
        path.write_bytes(content.ljust(before.st_size)[: before.st_size])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    async def story() -> None:
        files = authority.files("node")
        async with watched(Certificates(files)) as found:
            authority.issue("node")
            good = files.key.read_bytes()
            files.key.write_bytes(b"x" * len(good))
            await until(lambda: found.counters.failed_reloads)
            replace_within(files.key, good)
            await until(lambda: found.counters.reloads)
            assert found.current.key_pem == good
            assert found.counters.failed_reloads == 1

    run(story())


def test_the_end_of_a_certificate_is_told_while_a_node_runs(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "EXPIRY_LOOKS", SOON - SOON)

    async def story() -> None:
        async with watched(Certificates(authority.files("node", not_before=LONG_AGO, not_after=SOON))):
            await until(lambda: len(told(caplog, "a certificate expires soon")) > 1)

    run(story())
