"""Weights and golden pictures exist in the clear in sealed memory only: no file ever holds a piece of them."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.demo import releases
from agent.demo.releases import Script
from agent.schema.messages import ReplyStatus
from tests.parts.site import MODEL, QUICK, Site

WINDOW = 64  # bytes
SCRIPTS = (Script("1.0.0", 1, (MODEL.name,)), Script("2.0.0", 2, (MODEL.name,)))
WRITES = "write,pwrite64,writev,pwritev,pwritev2"
COPIES = "sendfile,splice,tee,vmsplice,copy_file_range,process_vm_writev"
TRACE = f"{WRITES},{COPIES},mmap,io_uring_setup,openat"
LINE = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<rest>.*)$")
BUFFER = re.compile(r'"((?:\\x[0-9a-f]{2})+)"')
FILE = re.compile(r"\d+<(?P<path>[^>]+)>")

# Under strace a busy machine shows few frames, and this test is not about how many.
PATIENT = {
    **QUICK,
    "trial_timeout_s": 120.0,
    "probation": {**QUICK["probation"], "frames": 1},
}

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def windows(data: bytes, count: int = 50) -> list[bytes]:
    """Pieces that no other file has by chance: rich in different bytes, spread over the whole."""
    step = max(1, len(data) // (2 * count))
    pieces = (data[at : at + WINDOW] for at in range(0, len(data) - WINDOW, step))
    return [piece for piece in pieces if len(set(piece)) >= 40]


@pytest.fixture(scope="module")
def secrets() -> list[bytes]:
    """Pieces of the model and of every golden picture."""
    pictures = [frame.image for frame in releases.draft_of(SCRIPTS[0]).golden.frames]
    found = [windows(MODEL.read_bytes()), *(windows(picture) for picture in pictures)]
    assert min(map(len, found)) > 20, "every secret has pieces to look for"
    return [piece for pieces in found for piece in pieces]


@needs_strace
def test_no_system_call_writes_plaintext_to_a_file(site: Site, secrets: list[bytes]) -> None:
    device = site.device("traced", update=PATIENT)
    trace = site.folder / "traced.strace"
    # -xx and -s: all bytes as hex; -y: where each descriptor leads.
    strace = ["strace", "-D", "-f", "-qq", "-y", "-xx", "-s", "300000", "-e", f"trace={TRACE}"]
    device.start(under=[*strace, "-e", "signal=none", "-o", str(trace)])
    site.wait_ready(device)
    for script in SCRIPTS:
        reply = site.install(device, site.release(script.version, script), 180)
        assert reply.status is ReplyStatus.SUCCEEDED, reply
    sealed = [path.read_bytes() for path in (device.folder / "state/models/blobs").iterdir()]
    assert device.stop() == 0

    calls = list(traced(trace))
    written = b"".join(data_of(text) for call, text in calls if call in WRITES.split(","))
    for blob in sealed:
        assert any(piece in written for piece in windows(blob)), "the trace shows what is written"
    found = sum(piece in written for piece in secrets)
    assert found == 0, f"{found} pieces of plaintext were written to files"
    assert [text for call, text in calls if call in COPIES.split(",")] == []
    assert [text for call, text in calls if call.startswith("io_uring")] == []
    shared = {path_of(text) for call, text in calls if call == "mmap" and is_written_map(text)}
    assert {path for path in shared if not path.endswith(".db-shm")} == set()


def traced(trace: Path) -> Iterator[tuple[str, str]]:
    """System calls on files that have a path, with their arguments."""
    with trace.open(errors="replace") as lines:
        for line in lines:
            match = LINE.match(line)
            if match and has_path(match["rest"]):
                yield match["call"], match["rest"]


def has_path(arguments: str) -> bool:
    nowhere = ("/memfd:", "/dev/null", "/proc/", "/dev/pts")
    paths = map(unhex, FILE.findall(arguments))
    return any(path.startswith("/") and not path.startswith(nowhere) for path in paths)


def path_of(arguments: str) -> str:
    return unhex(FILE.findall(arguments)[0])


def unhex(path: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), path)


def is_written_map(arguments: str) -> bool:
    return "MAP_SHARED" in arguments and "PROT_WRITE" in arguments


def data_of(arguments: str) -> bytes:
    """The bytes of the buffers that a call was given."""
    buffers = BUFFER.findall(arguments)
    return bytes.fromhex("".join(buffers).replace("\\x", ""))


def test_no_file_holds_plaintext_during_and_after_an_update(
    site: Site, secrets: list[bytes], tmp_path: Path
) -> None:
    chosen = secrets[:: max(1, len(secrets) // 40)]
    assert leaks(MODEL.parent, windows(MODEL.read_bytes())[:5]) == {MODEL}, "the search finds"
    device = site.device("searched")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    places = [device.folder, temporary, *(Path("/dev/shm"), Path("/var/tmp"))]
    with searching(places, chosen) as found:
        device.start(under=["env", f"TMPDIR={temporary}"])
        site.wait_ready(device)
        for script in SCRIPTS:
            reply = site.install(device, site.release(script.version, script))
            assert reply.status is ReplyStatus.SUCCEEDED, reply
        device.kill()
    assert found == set()


@contextmanager
def searching(places: list[Path], pieces: list[bytes]) -> Iterator[set[Path]]:
    """Search the places again and again until the block ends, and once more then."""
    found: set[Path] = set()
    over = threading.Event()

    def search() -> None:
        while not over.wait(0.3):
            look()

    def look() -> None:
        for place in places:
            found.update(leaks(place, pieces))

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
    look()


def leaks(place: Path, pieces: list[bytes]) -> set[Path]:
    """Files below a place that hold one of the pieces."""
    found = set()
    # What goes away meanwhile ends no walk.
    every = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    for path in every:
        try:
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        except OSError:
            continue  # gone meanwhile
        if any(piece in data for piece in pieces):
            found.add(path)
    return found
