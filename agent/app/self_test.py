"""`self-test`: whether this device does what it should, one check after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.app.device import Device
from agent.app.standing import Standing
from agent.errors import (
    CameraError,
    CommandError,
    ModelError,
    StorageError,
    TransferError,
    VigilError,
)
from agent.host.clock import wall_ms
from agent.update.installer import Updater

Check = Callable[[], str]
LEAST_FREE_MB = 200
_WELL = frozenset({"streaming", "ended", "paused"})


def run_checks(checks: Mapping[str, Check]) -> list[dict[str, Any]]:
    """Run every check, also after one failed; return name, outcome and what was found of each."""
    return [_run(name, check) for name, check in checks.items()]


def failures(results: list[dict[str, Any]]) -> CommandError | None:
    """Return the error that names what failed; None when nothing did."""
    failed = [f"{one['name']}: {one['found']}" for one in results if not one["passed"]]
    if not failed:
        return None
    return CommandError("; ".join(failed), code="selftest.failed")


def device_checks(device: Device, standing: Standing, updater: Updater) -> dict[str, Check]:
    """Return the checks of a whole device; one that finds fault raises `VigilError`."""
    return {
        "model": lambda: prove_model(standing, updater),
        "pipeline": lambda: _pipeline(standing),
        "cameras": lambda: _cameras(standing),
        "link": lambda: _link(standing),
        "audit": lambda: _audit(device),
        "disk": lambda: _disk(device),
        "clock": lambda: _clock(device),
    }


def _run(name: str, check: Check) -> dict[str, Any]:
    try:
        return {"name": name, "passed": True, "found": check()}
    except VigilError as error:
        return {"name": name, "passed": False, "found": str(error), "code": error.code}


def prove_model(standing: Standing, updater: Updater) -> str:
    """Open, load and prove the running variant once more in a worker of its own, golden set included.

    Raises:
        CommandError: An update is under way.
        ModelError: No model runs, or it does not see here what its makers saw.
    """
    release = standing.supervisor.release
    if release is None:
        raise ModelError("no model is running", code="model.none")
    with updater.reserved():
        standing.supervisor.trial(release)
        standing.supervisor.discard()
    return f"{release.ref.label} {release.variant.id} passes its golden set"


def _pipeline(standing: Standing) -> str:
    pipeline = standing.supervisor.pipeline
    if pipeline != "running":
        raise ModelError(f"{pipeline} {standing.supervisor.problem}".strip(), code="model.none")
    return pipeline


def _cameras(standing: Standing) -> str:
    cameras = standing.worker_watch.meters.cameras
    bad = [
        f"{one.name} {one.status} {one.problem}".strip()
        for one in cameras
        if one.status not in _WELL
    ]
    if bad:
        raise CameraError("; ".join(bad))
    return f"{len(cameras)} give pictures"


def _link(standing: Standing) -> str:
    if not standing.link.connected:
        raise TransferError(standing.link.description, code="transfer.offline")
    return standing.link.description


def _audit(device: Device) -> str:
    device.ledger.verify()
    return f"whole up to {device.ledger.head[:16]}"


def _disk(device: Device) -> str:
    free_mb = device.disk.free_bytes(device.folder) // 2**20
    if free_mb < LEAST_FREE_MB:
        raise StorageError(f"{free_mb} MB free, expected {LEAST_FREE_MB}", code="storage.full")
    return f"{free_mb} MB free"


def _clock(device: Device) -> str:
    behind_s = device.floor.time_s - wall_ms() // 1000
    if behind_s > 0:
        message = f"the clock is {behind_s} s behind what was signed already"
        raise CommandError(message, code="clock.behind")
    return "not behind what was signed"
