"""What a simulated fleet stands on: certificates, a real broker, the controller, and processes full of devices."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, cast

from brokers import Broker, Mosquitto, Nats, check, usage_of
from fetching import Shop
from typing_extensions import Self

from agent.fleet.authority import CA_CERT
from agent.fleet.home import BROKER, FLEET_SCHEMA, FleetConfig, FleetHome, create_home
from agent.fleet.registry import DeviceRecord
from agent.host.ports import free_port
from agent.trust.identity import certificate_request
from agent.trust.keys import FileKey, load_private

_HERE = Path(__file__).parent
_OTHER_FILES = 200  # of a broker beside its clients' connections


class Worker:
    """A process that is told one line and may answer with one."""

    def __init__(self, script: str, *arguments: str) -> None:
        self._name = f"{script} {Path(arguments[0]).stem}"
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / f"{script}.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._stdin = cast("IO[str]", self._process.stdin)
        self._stdout = cast("IO[str]", self._process.stdout)

    def tell(self, line: str) -> None:
        """Say something that is not answered."""
        try:
            self._stdin.write(f"{line}\n")
            self._stdin.flush()
        except BrokenPipeError:
            self._ended()

    def ask(self, line: str = "report") -> dict[str, Any]:
        """Say something and return the answer."""
        self.tell(line)
        said = self._stdout.readline()
        if not said:
            self._ended()
        answer: dict[str, Any] = json.loads(said)
        return answer

    def check(self) -> None:
        """End the run, and say how the process ended, if it did."""
        check(self._name, self._process)

    def _ended(self) -> NoReturn:
        self._process.wait(10)
        self.check()
        raise AssertionError("a process that ended has a status")

    def end(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stage:
    """A fleet of `size` devices in `folder`, with broker and controller running inside the block.

    Args:
        folder: Empty.
        size: Number of devices.
        tls: Certificates for everybody; else plain text, where nobody is checked.
        nats: Three nodes of NATS in the place of mosquitto; only without `tls`.
    """

    def __init__(self, folder: Path, size: int, *, tls: bool, nats: bool = False) -> None:
        self.folder = folder
        self.names = [f"sim-{number:05}" for number in range(size)]
        self._tls = tls
        self._nats = Nats(folder / "nats") if nats else None
        self._port = self._nats.ports[0] if self._nats is not None else free_port()
        self._workers: list[Worker] = []
        self.crowds: list[Worker] = []

    def __enter__(self) -> Self:
        (self.folder / "public").mkdir()
        config = FleetConfig(
            schema=FLEET_SCHEMA,
            broker_host="127.0.0.1",
            broker_port=self._port,
            repository="../public",
        )
        home = create_home(self.folder / "home", config)
        self.place = home.place
        self._certify(home)
        home.write_access()
        home.registry.close()
        settings = home.folder / BROKER / "mosquitto.conf"
        self._broker: Broker = self._nats or Mosquitto(settings, self._port, tls=self._tls)
        self._broker.start()
        plain = () if self._tls else ("plain",)
        self.controller = self.worker("watched_controller", str(home.folder), *plain)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in reversed(self._workers):
            worker.end()
        self._broker.stop()

    def crowd(
        self, names: list[str], interval_s: float, joins_per_s: float, shop: Shop | None
    ) -> None:
        """Start a process with these devices, which fetch from `shop` what they are told to deploy."""
        settings = self.folder / f"{names[0]}.json"
        document = {
            "host": "127.0.0.1",
            "ports": self._broker.ports,
            "tls": str(self.folder) if self._tls else None,
            "names": names,
            "interval_s": interval_s,
            "joins_per_s": joins_per_s,
            "shop": shop,
        }
        settings.write_text(json.dumps(document))
        self.crowds.append(self.worker("crowd", str(settings)))

    def usage(self) -> dict[str, tuple[float, float]]:
        """Return CPU seconds since their start and resident megabytes of controller, broker and all devices."""
        used = {"controller": usage_of(self.controller.pid), "broker": self._broker.usage()}
        crowds = [usage_of(crowd.pid) for crowd in self.crowds]
        used["devices"] = (sum(cpu_s for cpu_s, _ in crowds), sum(mb for _, mb in crowds))
        return used

    def check(self) -> None:
        """End the run if a process of it did, and say how: silence must not look like a slow fleet."""
        for worker in self._workers:
            worker.check()
        self._broker.check()

    def disturb(self, meanwhile: Callable[[], object]) -> None:
        """Take the broker away under everybody, do something, and bring it back; of NATS, kill one node."""
        self._broker.take_away()
        meanwhile()
        self._broker.bring_back()

    def worker(self, script: str, *arguments: str) -> Worker:
        """Start a process that ends with this block."""
        self._workers.append(Worker(script, *arguments))
        return self._workers[-1]

    def _certify(self, home: FleetHome) -> None:
        """Register every device; all share one key, so that ten thousand are made within seconds."""
        key = FileKey.create(self.folder / "devices.key")
        private = load_private(self.folder / "devices.key")
        (self.folder / CA_CERT).write_bytes(home.authority.ca_pem)
        records = []
        for name in self.names:
            issued = home.authority.sign_csr(certificate_request(private, name), name)
            (self.folder / f"{name}.crt").write_bytes(issued.cert_pem)
            records.append(DeviceRecord(name, "gate", (), key.public_bytes, issued.serial))
        home.registry.put_devices(records)


def allow_files(devices: int) -> None:
    """Let this process and all it starts open as many files as the system allows.

    It is the broker that needs one for each device.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = devices + _OTHER_FILES
    if most != resource.RLIM_INFINITY and most < needed:
        sys.exit(
            f"simulate_fleet: {devices} devices need {needed} open files in the broker, the system allows {most}: "
            f"raise the hard limit (ulimit -Hn, LimitNOFILE) or simulate fewer"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
