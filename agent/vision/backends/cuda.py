"""The dozen calls of the CUDA runtime that inference needs, by ctypes.

libcudart comes with every CUDA installation and with JetPack; NVIDIA's Python bindings come with neither,
are ten times its size and must match its major version. The calls used here are the same in CUDA 11 to 13.

Source: NVIDIA, CUDA Runtime API, sections 6.1 (devices), 6.4 (streams) and 6.9 (memory).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import weakref
from ctypes import POINTER, byref, c_char, c_int, c_size_t, c_uint, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
CALLS: Mapping[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaStreamCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaMalloc": (POINTER(c_void_p), c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
}
_RELEASES = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))
# Numbers of driver_types.h.
_COMPUTE_CAPABILITY = (75, 76)
_STREAM_NON_BLOCKING = 1
_TO_DEVICE, _TO_HOST = 1, 2


class Cuda:
    """The CUDA runtime of this process, on its first device.

    Every method raises `ModelError` with code `model.accelerator` and CUDA's own words when a call fails.

    Raises:
        ModelError: There is no CUDA runtime here (`model.runtime_missing`).
    """

    def __init__(self) -> None:
        self._library = _load()
        for name, types in CALLS.items():
            getattr(self._library, name).argtypes = types
        self._library.cudaGetErrorString.restype = ctypes.c_char_p

    @property
    def version(self) -> int:
        """Version of the runtime: 12060 is 12.6."""
        return self._ask("cudaRuntimeGetVersion")

    @property
    def driver(self) -> str:
        """Newest CUDA version that the driver serves, 0 without a driver; then its release, if it says so."""
        return f"{self._ask('cudaDriverGetVersion')} {_driver_release()}".strip()

    @property
    def compute_capability(self) -> str:
        """Compute capability of the first device, for example `8.7`."""
        return ".".join(
            str(self._ask("cudaDeviceGetAttribute", part, 0)) for part in _COMPUTE_CAPABILITY
        )

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of `CALLS`."""
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            reason = self._library.cudaGetErrorString(status).decode("ascii", "replace")
            raise ModelError(f"{name}: {reason} ({status})", code="model.accelerator")

    def new(self, name: str, *arguments: Any) -> int:
        """Call a function that gives a handle or an address in its first argument."""
        result = c_void_p()
        self.call(name, byref(result), *arguments)
        return result.value or 0

    def _ask(self, name: str, *arguments: int) -> int:
        result = c_int()
        self.call(name, byref(result), *arguments)
        return result.value


class Pair:
    """One tensor twice: page-locked in host memory, as an array to fill or read, and on the device.

    Attributes:
        host: The array of the given shape and dtype; its memory lives as long as any view of it.
        address: Where the device has it, as long as this object lives.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        self._cuda, self._size = cuda, size
        self.address = cuda.new("cudaMalloc", size)
        _release(self, cuda, "cudaFree", self.address)
        pinned = cuda.new("cudaHostAlloc", size, 0)
        memory = (c_char * size).from_address(pinned)
        _release(memory, cuda, "cudaFreeHost", pinned)
        self.host: NDArray[Any] = np.ndarray(shape, dtype, buffer=memoryview(memory))
        self.host[...] = 0

    def upload(self, stream: int) -> None:
        """Copy to the device, in the stream's order."""
        self._copy(self.address, self.host.ctypes.data, _TO_DEVICE, stream)

    def download(self, stream: int) -> None:
        """Copy from the device, in the stream's order."""
        self._copy(self.host.ctypes.data, self.address, _TO_HOST, stream)

    def _copy(self, target: int, source: int, direction: int, stream: int) -> None:
        self._cuda.call("cudaMemcpyAsync", target, source, self._size, direction, stream)


class Stream:
    """A stream of its own, so that nothing waits for the default one; destroyed with this object."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = cuda.new("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)
        _release(self, cuda, "cudaStreamDestroy", self.handle)

    def wait(self) -> None:
        """Return when everything in the stream is done."""
        self._cuda.call("cudaStreamSynchronize", self.handle)


def _release(owner: object, cuda: Cuda, name: str, handle: int) -> None:
    """Call `name` on `handle` when `owner` is gone; the end of the process needs no such call."""
    weakref.finalize(owner, cuda.call, name, handle).atexit = False


def _driver_release() -> str:
    """Return the first line in which a discrete GPU's driver or Jetson Linux names its release."""
    for path in _RELEASES:
        with contextlib.suppress(OSError):
            return path.read_text("utf-8", errors="replace").partition("\n")[0][:200]
    return ""


def _load() -> Any:
    for name in (*LIBRARIES, *_bundled()):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ModelError(
        f"no CUDA runtime here: looked for {', '.join(LIBRARIES)}",
        code="model.runtime_missing",
        hint="install CUDA's runtime (on Jetson: nvidia-jetpack) or the nvidia-cuda-runtime wheel",
    )


def _bundled() -> Iterator[str]:
    """Yield the runtimes that came as Python packages, which the loader does not search."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from map(str, sorted(Path(folder).glob("*/lib/libcudart.so.*"), reverse=True))
