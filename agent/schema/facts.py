"""What is known of a machine besides its name: parts, sensors and the software under the agent.

Every part is optional: a board that does not show something leaves it empty, and what was shown but
cannot be believed stands in `BoardFacts.unreadable`.
"""

from __future__ import annotations

from agent.schema.values import Struct


class Cpu(Struct):
    """The processor: its name, and the instruction sets that inference and encryption care about."""

    name: str = ""
    features: list[str] = []


class Gpu(Struct):
    """The CUDA device: name, compute capability such as `8.7` (empty: not known), driver version."""

    name: str = ""
    compute_capability: str = ""
    driver: str = ""


class Storage(Struct):
    """Where `/` lies: `nvme`, `sd`, `emmc`, `ssd`, `disk` or empty, and its size, MiB."""

    kind: str = ""
    total_mb: int = 0
    free_mb: int = 0


class ThermalZone(Struct):
    """One of the kernel's thermal zones; null degrees where it cannot be read or believed."""

    name: str
    temperature_c: float | None = None


class Rail(Struct):
    """One measured power rail: volts times amperes, in milliwatts."""

    name: str
    power_mw: float


class CameraDevice(Struct):
    """A video capture device: `/dev/video0` and the driver's name for it."""

    device: str
    name: str


class Throttling(Struct):
    """Why the board is slower than it could be, by name: now, and at some time since it started.

    Attributes:
        now: Flags that hold now, for example `under-voltage`, `frequency capped`, `throttled`.
        earlier: The same since the start.
        over_current: Jetson's over-current events since the start, by counter (`oc1`: under-voltage,
            `oc2`: average, `oc3`: instantaneous).
    """

    now: list[str] = []
    earlier: list[str] = []
    over_current: dict[str, int] = {}


class Software(Struct):
    """Versions under the agent, empty where there is none.

    Attributes:
        system: The distribution, as it names itself.
        kernel: Release of the kernel.
        python: The system's own Python, which vendors' bindings are made for.
        l4t: Jetson Linux, from `/etc/nv_tegra_release`.
        l4t_packages: Jetson Linux, as its packages say (`nvidia-l4t-core`).
        jetpack: JetPack, from its package or else from `l4t`.
        firmware: The board's firmware as it names itself.
        cuda: CUDA toolkit.
        tensorrt: The system's TensorRT library.
        edgetpu: The system's Edge TPU library (libedgetpu).
        packages: Python distributions that matter to inference, by name.
    """

    system: str = ""
    kernel: str = ""
    python: str = ""
    l4t: str = ""
    l4t_packages: str = ""
    jetpack: str = ""
    firmware: str = ""
    cuda: str = ""
    tensorrt: str = ""
    edgetpu: str = ""
    packages: dict[str, str] = {}
