"""The parts every test may ask for, and how tests are shared out when several processes run them."""

import os
from functools import cache

import hypothesis
import pytest
import typer.testing
from typer.main import get_command
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from agent.host.ports import PORTS
from tests.parts.assets import assets
from tests.parts.broker import broker_factory, mosquitto, tls_mosquitto
from tests.parts.certificates import authority
from tests.parts.holding import hold
from tests.parts.provisioned import provisioned
from tests.parts.site import module_site, own_site, session_site, site
from tests.parts.tokens import soft_token, soft_tpm

# Readline tells them to the processes it starts; the command line's tables would keep that width whatever a test sets.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)
# A thousand processes load the same modules: the first compiles them for all, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Typer's runner builds all commands anew, in 50 ms, for every line that a test runs.
typer.testing._get_command = cache(get_command)  # type: ignore[attr-defined]

# The same examples each time, and none is a fault because the machine had something else to do.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

# A port that was chosen is used a moment later: no two processes choose among the same ones. Some servers take the next one, too.
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS.among = PORTS.among[_process * 2 :: _processes * 2]

_TOGETHER = "tests/provisioning/"  # they work on copies of one machine that takes minutes to make


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist carries no types
    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER if nodeid.startswith(_TOGETHER) else super()._split_scope(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: begun last, one of them would go on when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """All tests of a file go to one process, for what they share is made once for the file."""
    return _ByFile(config, log)


__all__ = [
    "assets",
    "authority",
    "broker_factory",
    "hold",
    "module_site",
    "mosquitto",
    "own_site",
    "provisioned",
    "session_site",
    "site",
    "soft_token",
    "soft_tpm",
    "tls_mosquitto",
]
