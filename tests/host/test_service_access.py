"""The drop-in opens what the board has and the key store needs, and nothing else."""

from __future__ import annotations

from pathlib import Path

from agent.host.service_access import Access, drop_in, service_access
from agent.schema.keystore import (
    CredentialKeyConfig,
    FileKeyConfig,
    Pkcs11KeyConfig,
    Tpm2KeyConfig,
)
from agent.schema.profile import BoardFacts

FILE = FileKeyConfig()


def facts(*compatible: str, **accelerators: bool) -> BoardFacts:
    return BoardFacts(
        model="",
        compatible=list(compatible),
        architecture="aarch64",
        cores=4,
        memory_mb=4096,
        cpu_aes=True,
        backends={},
        accelerators=accelerators,
    )


def board(folder: Path, *nodes: str) -> Path:
    for node in nodes:
        path = folder / "dev" / node
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_a_plain_machine_with_a_key_file_gets_nothing(tmp_path: Path) -> None:
    root = board(tmp_path, "nvidia0", "apex_0", "tpmrm0", "media0", "sda")
    assert service_access(facts(), FILE, root) == Access()


def test_a_jetson_gets_its_nodes_and_the_camera_daemons_socket(tmp_path: Path) -> None:
    root = board(tmp_path, "nvmap", "nvhost-gpu", "nvgpu/igpu0/ctrl", "media0", "mmcblk0")
    found = service_access(facts("nvidia,tegra234", cuda=True), FILE, root, lambda _: "video")
    assert set(found.devices) == {
        "/dev/nvmap",
        "/dev/nvhost-gpu",
        "/dev/nvgpu/igpu0/ctrl",
        "/dev/media0",
    }
    assert found.groups == ("video",)
    assert found.sockets == ("/tmp/argus_socket",)


def test_an_edge_tpu_is_reached_as_card_or_by_usb(tmp_path: Path) -> None:
    found = service_access(facts(edgetpu=True), FILE, board(tmp_path, "apex_0"), lambda _: "apex")
    assert found.devices == ("/dev/apex_0", "char-usb_device")


def test_a_raspberry_pi_gets_what_libcamera_asks(tmp_path: Path) -> None:
    root = board(tmp_path, "media0", "dma_heap/system", "v4l-subdev0", "gpiochip0")
    found = service_access(facts("raspberrypi,5-model-b"), FILE, root, lambda _: "video")
    assert found.devices == ("/dev/dma_heap/system", "/dev/media0", "/dev/v4l-subdev0")


def test_key_stores_bring_their_node_group_or_credential(tmp_path: Path) -> None:
    root = board(tmp_path, "tpmrm0", "tee0")
    tpm = service_access(facts(), Tpm2KeyConfig(), root, lambda _: "tss")
    assert (tpm.devices, tpm.groups) == (("/dev/tpmrm0",), ("tss",))
    token = Pkcs11KeyConfig(module="m", token="t", pin_file="credential:vigil-pin")
    tee = service_access(facts(), token, root, lambda _: "teeclnt")
    assert tee.devices == ("/dev/tee0",)
    assert tee.credentials == ("vigil-pin:/etc/credstore.encrypted/vigil-pin",)
    credential = service_access(facts(), CredentialKeyConfig(), root)
    assert credential.credentials == ("vigil-device-key:/etc/credstore.encrypted/vigil-device-key",)
    assert credential.devices == ()


def test_the_drop_in_says_it_in_systemds_words() -> None:
    text = drop_in(Access(("/dev/tpmrm0",), ("tss", "video"), ("a:/b",), ("/tmp/s",)), "board")
    assert text.splitlines()[1:] == [
        "[Service]",
        "DeviceAllow=/dev/tpmrm0 rw",
        "SupplementaryGroups=tss video",
        "LoadCredentialEncrypted=a:/b",
        "BindPaths=-/tmp/s",
    ]
