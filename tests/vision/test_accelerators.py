"""What a profile wishes of the runtimes is done where it can be, and said where it cannot."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from agent.demo.releases import BUNDLED
from agent.errors import ModelError
from agent.schema import ipc
from agent.schema.manifest import InputSpec
from agent.schema.values import BackendName
from agent.vision.backends import BackendOptions, Remarks, open_backend
from agent.vision.backends.onnxruntime import choose_providers, spinning
from tests.vision import models
from tests.vision.peer import Peer

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TRT = "TensorrtExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"


@pytest.fixture
def onnx_file(tmp_path: Path) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.onnx_model())
    return str(path)


@pytest.fixture
def tflite_file(tmp_path: Path) -> str:
    path = tmp_path / "model.tflite"
    path.write_bytes(models.tflite_model())
    return str(path)


@pytest.mark.parametrize(
    ("wanted", "available", "used", "noted"),
    [
        ([], [CPU], [CPU], 0),
        ([CPU], [CPU], [CPU], 0),
        ([CUDA], [CUDA, CPU], [CUDA, CPU], 0),
        ([CUDA, CPU], [CPU], [CPU], 1),
        ([TRT, CUDA], [CUDA, CPU], [CUDA, CPU], 1),
        ([CPU, XNNPACK], [XNNPACK, CPU], [XNNPACK, CPU], 0),
    ],
)
def test_the_first_providers_that_are_here_are_used_and_the_cpu_last(
    wanted: list[str], available: list[str], used: list[str], noted: int
) -> None:
    usable, notes = choose_providers(wanted, available)
    assert usable == used
    assert len(notes) == noted


def test_without_the_cpu_in_the_list_nothing_falls_back_to_it() -> None:
    with pytest.raises(ModelError, match=f"{TRT} or {CUDA}") as caught:
        choose_providers([TRT, CUDA], [XNNPACK, CPU])
    assert caught.value.code == "model.runtime_missing"
    assert XNNPACK in caught.value.hint


def test_an_absent_provider_before_the_cpus_is_noted(onnx_file: str) -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    backend = open_backend("onnxruntime", onnx_file, BackendOptions(providers=[CUDA, CPU]))
    assert isinstance(backend, Remarks)
    (note,) = backend.notes
    assert CUDA in note
    assert len(backend.infer()) == 1


@pytest.mark.parametrize("provider", [XNNPACK, CUDA, TRT])
def test_a_built_in_provider_gives_the_same_boxes(onnx_file: str, provider: str) -> None:
    if provider not in ort.get_available_providers():
        pytest.skip(f"the installed ONNX Runtime is built without {provider}")
    expected = open_backend("onnxruntime", onnx_file, BackendOptions())
    try:
        backend = open_backend("onnxruntime", onnx_file, BackendOptions(providers=[provider]))
    except ModelError as error:
        pytest.skip(f"{provider} does not start here: {error}")
    for one in (expected, backend):
        one.buffer[...] = 0.8
    assert backend.infer()[0] == pytest.approx(expected.infer()[0], abs=1e-2)


def test_threads_that_cannot_be_told_when_to_sleep_do_so_at_once() -> None:
    assert spinning("1.25.1") == {"allow_spinning": "0"}
    assert spinning("1.26.0") == {"allow_spinning": "1", "spin_duration_us": "20"}
    assert spinning("2.0.0.dev20270101")["spin_duration_us"] == "20"


def test_the_pauses_between_frames_cost_no_cpu_time() -> None:
    backend = open_backend("onnxruntime", str(BUNDLED / "parts-2.onnx"), BackendOptions(threads=2))

    def spent_s(*, infers: bool) -> float:
        """CPU time of this process in a pause."""
        if infers:
            backend.infer()
        before_s = time.process_time()
        time.sleep(0.03)
        return time.process_time() - before_s

    # Threads that earlier tests left take their time, too, whether there was an inference or not.
    more_s = sum(spent_s(infers=True) - spent_s(infers=False) for _ in range(20))
    assert more_s < 0.06  # of 0.6 s; a thread that spins until it is tired takes 0.3 s


def test_a_worker_reports_what_of_its_set_up_is_not_here() -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this build of ONNX Runtime has CUDA")
    peer = Peer()
    try:
        loaded = peer.load(models.onnx_model(), ipc.ModelLoaded, providers=[CUDA, CPU])
        assert [CUDA in note for note in loaded.notes] == [True]
        failed = peer.load(models.onnx_model(), ipc.Failed, providers=[CUDA])
        assert failed.code == "model.runtime_missing"
        tflite, wish = models.tflite_model(), ["libedgetpu-of-nobody.so"]
        spec = InputSpec(width=models.SIZE, height=models.SIZE, layout="nhwc")
        loaded = peer.load(
            tflite, ipc.ModelLoaded, delegates=wish, backend=BackendName.LITERT, input=spec
        )
        assert [wish[0] in note for note in loaded.notes] == [True]
    finally:
        peer.process.kill()
        peer.process.wait(30)


def test_a_delegate_that_is_not_here_is_noted_and_the_cpu_does_it(tflite_file: str) -> None:
    options = BackendOptions(delegates=["libedgetpu-of-nobody.so", "libm.so.6"])
    backend = open_backend("litert", tflite_file, options)
    assert isinstance(backend, Remarks)
    assert ["libedgetpu-of-nobody.so" in backend.notes[0], "libm.so.6" in backend.notes[1]] == [
        True,
        True,
    ]
    backend.buffer[...] = 1
    assert backend.infer()[0].max() == pytest.approx(1, abs=1e-3)


def test_a_model_compiled_for_an_absent_delegate_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model_edgetpu.tflite"
    path.write_bytes(models.edgetpu_model())
    options = BackendOptions(delegates=["libedgetpu-of-nobody.so"])
    with pytest.raises(ModelError, match="edgetpu-custom-op") as caught:
        open_backend("litert", str(path), options)
    assert caught.value.code == "model.unreadable"
    assert "libedgetpu-of-nobody.so" in caught.value.hint


DELEGATE = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef struct TfLiteContext TfLiteContext;
typedef struct TfLiteDelegate {
  void *data_;
  int (*Prepare)(TfLiteContext *, struct TfLiteDelegate *);
  void *from, *to, *free;
  int64_t flags;
  void *opaque;
} TfLiteDelegate;
static int prepare(TfLiteContext *c, TfLiteDelegate *d) { FILE *f = fopen(getenv("SEEN"), "w"); fclose(f); return 0; }
TfLiteDelegate *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*e)(const char *)) {
  TfLiteDelegate *d = calloc(1, sizeof *d); d->Prepare = prepare; d->flags = 1; return d;
}
void tflite_plugin_destroy_delegate(TfLiteDelegate *d) { free(d); }
"""


def test_a_delegate_that_is_here_is_asked(
    tflite_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delegate of three lines stands for the Edge TPU's: it takes no nodes, so the CPU runs them."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a delegate")
    (tmp_path / "delegate.c").write_text(DELEGATE)
    library = tmp_path / "libdelegate.so"
    source = str(tmp_path / "delegate.c")
    command = [compiler, "-shared", "-fPIC", "-o", str(library), source]
    subprocess.run(command, check=True)
    monkeypatch.setitem(os.environ, "SEEN", str(tmp_path / "seen"))
    backend = open_backend("litert", tflite_file, BackendOptions(delegates=[str(library)]))
    assert isinstance(backend, Remarks)
    assert not backend.notes
    assert (tmp_path / "seen").exists()
    assert np.isfinite(backend.infer()[0]).all()
