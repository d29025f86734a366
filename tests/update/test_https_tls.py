"""36: what a web server must show before a byte of it is read."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import ConfigError, TransferError
from agent.schema.update_config import RepositoryConfig
from agent.update.sources.https import web_source
from tests.parts.certificates import Authority, Credentials
from tests.parts.on_record import assert_refused, audited
from tests.parts.signed_repository import SignedRepository, make_release
from tests.parts.update_device import UpdateDevice
from tests.parts.web_server import WebServer


@contextmanager
def serving(own: Credentials, newest: ssl.TLSVersion | None = None) -> Iterator[WebServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.certificate, own.key)
    if newest:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    with WebServer({"a/b": b"signed by nobody"}, context=context) as server:
        yield server


def read(server: WebServer, authority: Authority, host: str = "localhost") -> bytes:
    url = server.url.replace("127.0.0.1", host)
    config = RepositoryConfig(url=url, ca=str(authority.certificate))
    return b"".join(web_source(config).read("a/b", 0))


def refused(server: WebServer, authority: Authority, host: str = "localhost") -> str:
    with pytest.raises(TransferError) as caught:
        read(server, authority, host)
    assert server.requests == []
    return str(caught.value)


def test_36_a_server_of_the_right_authority_and_name_is_read(authority: Authority) -> None:
    with serving(authority.server()) as server:
        assert read(server, authority) == b"signed by nobody"


def test_36_a_server_of_another_authority_is_not_asked(
    authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / "stranger"
    folder.mkdir()
    with serving(Authority(folder, "Stranger").server()) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in refused(server, authority)


def test_36_a_server_of_another_name_is_not_asked(authority: Authority) -> None:
    with serving(authority.server("elsewhere")) as server:
        assert "Hostname mismatch" in refused(server, authority)


def test_36_a_server_with_an_expired_certificate_is_not_asked(authority: Authority) -> None:
    with serving(authority.server(valid=-dt.timedelta(hours=1))) as server:
        assert "expired" in refused(server, authority)


def test_36_a_server_that_speaks_only_old_tls_is_not_asked(authority: Authority) -> None:
    with serving(authority.server(), ssl.TLSVersion.TLSv1_1) as server:
        refused(server, authority)


def test_36_an_update_over_such_a_server_moves_nothing_and_leaves_a_row(
    device: UpdateDevice, repository: SignedRepository, authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.server("elsewhere")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        road = web_source(RepositoryConfig(url=url, ca=str(authority.certificate)))
        again = UpdateDevice(tmp_path, repository, sources=[road])
        assert again.start() == "1.1"
        with audited(again, tmp_path) as ledger:
            assert_refused(
                again, ledger, lambda: again.deploy(make_release(2)).code, "transfer.failed"
            )


def test_an_authority_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    for name in ("ca.crt", "absent.crt"):
        config = RepositoryConfig(url="https://localhost", ca=str(tmp_path / name))
        with pytest.raises(ConfigError, match=name):
            web_source(config)
