"""Attack list 21 to 25 from the updater's side: the signers were deceived, the container must tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.trust.ledger import Ledger
from tests.parts.on_record import assert_refused
from tests.parts.signed_repository import MadeRelease, SignedRepository, make_release
from tests.parts.update_device import UpdateDevice


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param("another release's payload", "trust.other_release", id="21"),
        pytest.param("another key", "trust.wrong_key", id="23"),
        pytest.param("a grant for another device", "trust.grant", id="25"),
        pytest.param("a changed golden set", "trust.tampered", id="22"),
    ],
)
def test_sealed_files_are_authenticated_before_any_worker_sees_them(
    device: UpdateDevice, repository: SignedRepository, ledger: Ledger, attack: str, code: str
) -> None:
    release = make_release(5)
    if attack == "another release's payload":
        release = _with_file(release, "onnx-fp32-320.sealed", make_release(3).files)
    elif attack == "a changed golden set":
        golden = release.files["golden.sealed"]
        release = _with_file(release, "golden.sealed", {"golden.sealed": golden[:-1] + b"x"})
    elif attack == "another key":
        release = replace(release, dek=bytes(32))
    else:
        device.key_channel.device = "cam-2"
    repository.add(release)
    repository.publish()
    assert_refused(device, ledger, lambda: device.deploy(release).code, code)
    assert (device.current.version, device.floor.counter) == ("1.1", 1)


def _with_file(release: MadeRelease, name: str, files: dict[str, bytes]) -> MadeRelease:
    """Sign a release whose file is replaced: the signers were deceived, the container must tell."""
    changed = make_release(release.manifest.release_counter, replaced={name: files[name]})
    return replace(changed, dek=release.dek)
