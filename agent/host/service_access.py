"""What the service may reach on this board: device nodes, their groups, its credential, as a drop-in for the unit.

The unit itself is closed but for cameras; this opens what the board has and the key store needs, and nothing else.
"""

from __future__ import annotations

import grp
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.schema.keystore import (
    CredentialKeyConfig,
    KeyConfig,
    Pkcs11KeyConfig,
    Tpm2KeyConfig,
)
from agent.schema.profile import BoardFacts

# Nodes below /dev, as patterns. NVIDIA: Jetson Linux Developer Guide and the x86 driver's README ("device nodes").
_ACCELERATORS = {
    "cuda": ("nvmap", "nvhost-*", "nvgpu/*/*", "nvidia*", "nvidia-caps/*", "dri/renderD*"),
    "edgetpu": ("apex_*",),
}
# libcamera asks the media controller and takes its buffers from the DMA heaps.
_BOARDS = {"raspberrypi,": ("media*", "v4l-subdev*", "dma_heap/*"), "nvidia,tegra": ("media*",)}
_TPM = ("tpmrm0",)
_TEE = ("tee0",)
# The Edge TPU on USB changes its id when its firmware is loaded, so no single node will do.
_USB = "char-usb_device"
# Jetson's camera daemon listens in /tmp, which the unit has of its own.
_ARGUS = "/tmp/argus_socket"  # noqa: S108 - NVIDIA's choice


@dataclass(frozen=True)
class Access:
    """Nodes (as `DeviceAllow=` names them), groups, credentials (`name:path`) and sockets."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()


def service_access(
    facts: BoardFacts,
    key: KeyConfig,
    root: Path = Path("/"),
    group_of: Callable[[Path], str] | None = None,
) -> Access:
    """Return what the service needs on the board whose file system is at `root`."""
    nodes = _nodes(root, [*_patterns(facts), *_key_patterns(key)])
    groups = {(group_of or _group)(node) for node in nodes} - {""}
    devices = [f"/{node.relative_to(root)}" for node in nodes]
    usb = [_USB] if facts.accelerators.get("edgetpu") else []
    tegra = any(name.startswith("nvidia,tegra") for name in facts.compatible)
    return Access(
        devices=(*devices, *usb),
        groups=tuple(sorted(groups)),
        credentials=_credentials(key),
        sockets=(_ARGUS,) if tegra else (),
    )


def drop_in(access: Access, profile: str) -> str:
    """Return the text of a drop-in for `vigil.service`."""
    lines = [
        f"# Made by `vigil provision drop-in` for {profile}; made anew by scripts/provision.sh.",
        "[Service]",
        *(f"DeviceAllow={device} rw" for device in access.devices),
        *([f"SupplementaryGroups={' '.join(access.groups)}"] if access.groups else []),
        *(f"LoadCredentialEncrypted={credential}" for credential in access.credentials),
        *(f"BindPaths=-{path}" for path in access.sockets),
    ]
    return "\n".join(lines)


def _patterns(facts: BoardFacts) -> list[str]:
    found = [name for name, there in facts.accelerators.items() if there]
    patterns = [pattern for name in found for pattern in _ACCELERATORS.get(name, ())]
    for start, more in _BOARDS.items():
        if any(name.startswith(start) for name in facts.compatible):
            patterns += more
    return patterns


def _key_patterns(key: KeyConfig) -> Iterable[str]:
    if isinstance(key, Tpm2KeyConfig):
        return _TPM
    return _TEE if isinstance(key, Pkcs11KeyConfig) else ()


def _nodes(root: Path, patterns: Iterable[str]) -> list[Path]:
    found = {node for pattern in patterns for node in (root / "dev").glob(pattern)}
    return sorted(node for node in found if not node.is_dir())


def _credentials(key: KeyConfig) -> tuple[str, ...]:
    if isinstance(key, CredentialKeyConfig):
        return (f"{key.name}:{key.encrypted}",)
    pin = getattr(key, "pin_file", "")
    if not pin.startswith("credential:"):
        return ()
    name = pin.partition(":")[2]
    return (f"{name}:/etc/credstore.encrypted/{name}",)


def _group(node: Path) -> str:
    """Return the group through which the service gets at a node, empty where there is none or it is root's."""
    about = node.stat()
    if about.st_gid == 0 or not about.st_mode & stat.S_IWGRP:
        return ""
    try:
        return grp.getgrgid(about.st_gid).gr_name
    except KeyError:
        return ""
