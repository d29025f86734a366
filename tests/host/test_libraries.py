"""What libraries needed only while they were loaded goes, and nothing else does."""

import subprocess
import sys
from pathlib import Path

from agent.host.libraries import Mapping, clean_libraries, forget_start_up
from agent.schema import ipc
from tests.vision import models
from tests.vision.peer import ROOT, Peer

SMAPS = """\
1000-3000 r-xp 00000000 fe:00 11 /usr/lib/libone.so.1
Size:                  8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00002000 fe:00 11 /usr/lib/libone.so.1
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 11 /usr/lib/libone.so.1
Anonymous:             0 kB
5000-6000 r--p 00000000 00:01 12 /memfd:model (deleted)
Anonymous:             0 kB
6000-7000 r--s 00000000 fe:00 13 /usr/lib/libshared.so
Anonymous:             0 kB
7000-8000 r--p 00000000 00:00 0
Anonymous:             0 kB
8000-9000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
9000-f000 r--p 00001000 fe:00 14 /usr/lib/a folder/libtwo.abi3.so
Anonymous:             0 kB
"""
# Looks for the colours of three pictures before and after, and says how much of ONNX Runtime is mapped each time.
LOOKER = f"""
import sys
from pathlib import Path
from agent.host.libraries import forget_start_up
from agent.vision.detector import load_detector
from tests.host.test_libraries import mapped_kb
from tests.vision import models
detector = load_detector(Path(sys.argv[1]), labels={models.LABELS!r}, family="ultralytics")
def look():
    return [detector.detect(models.colour_frame(label)).labels.tolist() for label in range(3)]
before, before_kb = look(), mapped_kb("self")
forget_start_up()
assert look() == before == [[0], [1], [2]], before
print(before_kb, mapped_kb("self"))
"""


def mapped_kb(pid: int | str) -> int:
    """How much of ONNX Runtime's library a process has mapped."""
    total, ours = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        field, *rest = line.split()
        if not field.endswith(":"):
            ours = "onnxruntime_pybind11_state" in line
        elif ours and field == "Rss:":
            total += int(rest[0])
    return total


def loaded_kb(model: Path) -> tuple[int, int]:
    command = [sys.executable, "-c", LOOKER, str(model)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    before_kb, after_kb = map(int, ran.stdout.split())
    return before_kb, after_kb


def test_only_pages_that_can_be_had_again_are_let_go() -> None:
    assert list(clean_libraries(SMAPS.splitlines())) == [
        Mapping(0x1000, 0x2000),
        Mapping(0x9000, 0x6000),
    ]


def test_a_process_goes_on_with_less(tmp_path: Path) -> None:
    model = tmp_path / "colour.onnx"
    model.write_bytes(models.onnx_model())
    before_kb, after_kb = loaded_kb(model)
    assert after_kb < 0.7 * before_kb


def test_a_worker_lets_go_of_what_loading_its_model_took(tmp_path: Path) -> None:
    model = tmp_path / "colour.onnx"
    model.write_bytes(models.onnx_model())
    peer = Peer()
    peer.load(models.onnx_model())
    worker_kb = mapped_kb(peer.process.pid)
    peer.ask(ipc.Done, ipc.Shutdown)
    assert worker_kb < 0.7 * loaded_kb(model)[0]


def test_where_the_kernel_shows_nothing_all_stays(tmp_path: Path) -> None:
    forget_start_up(tmp_path / "no-smaps")
