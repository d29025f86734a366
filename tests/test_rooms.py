"""What a running interpreter says about who loads what; lint-imports says the same of the text."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import agent

HEAVY = {
    "ai_edge_litert",
    "alembic",
    "amqtt",
    "cv2",
    "edgefirst",
    "numpy",
    "onnxruntime",
    "requests",
    "sqlalchemy",
    "tensorrt",
    "torch",
    "tpm2_pytss",
}
# Rooms that are not part of the control process.
ELSEWHERE = {"agent.demo", "agent.fleet", "agent.release", "agent.vision"}
# Loaded by the token helper's process alone, where the extra is installed. (pkcs11 is not among the heavy ones:
# securesystemslib imports it where it finds it, and it loads a vendor's library only when asked.)
IN_THE_HELPER = {"agent.trust.stores.pkcs11_token", "agent.trust.stores.tpm2_token"}

# Imports the modules named on the command line one by one and says which of them loaded what.
PROBE = """
import importlib, sys
heavy = set(sys.argv[1].split(","))
for name in sys.argv[2:]:
    importlib.import_module(name)
    loaded = heavy & set(sys.modules)
    heavy -= loaded
    for one in sorted(loaded):
        print(f"{name} loads {one}")
"""


def modules() -> list[str]:
    """Every module of the package that the control process may load."""
    return [
        found.name
        for found in pkgutil.walk_packages(agent.__path__, "agent.", onerror=lambda _: None)
        if ".".join(found.name.split(".")[:2]) not in ELSEWHERE
        and found.name not in {"agent.__main__"} | IN_THE_HELPER
    ]


def probe(*names: str) -> str:
    command = [sys.executable, "-c", PROBE, ",".join(sorted(HEAVY)), *names]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_control_process_loads_no_pictures_and_no_runtime() -> None:
    assert probe(*modules()) == ""


def loaded(name: str) -> set[str]:
    """Every module that importing one module loads."""
    command = [sys.executable, "-c", f"import {name}, sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_service_holds_no_command_line_and_a_benchmark_what_a_service_holds() -> None:
    service = loaded("agent.app.service")
    tops = {name.partition(".")[0] for name in service}
    assert not tops & {"pydantic", "rich", "typer"}
    assert not service & {"agent.cli", "agent.demo", "agent.fleet", "agent.release"}
    assert service <= loaded("agent.app.bench")


def test_a_worker_holds_nothing_that_only_others_need() -> None:
    """Each of these is a MiB or two that stays for good."""
    assert not loaded("agent.vision.worker") & {"importlib.metadata", "email.message", "yaml"}


@pytest.mark.parametrize("room", sorted(ELSEWHERE - {"agent.demo"}))
def test_the_name_of_a_heavy_room_costs_nothing(room: str) -> None:
    assert probe(room) == ""
