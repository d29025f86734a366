"""A release with fourteen variants: the facts of eleven real COCO detectors, without their files.

Accuracy is mAP50-95 on 128 COCO val2017 images, through one and the same pipeline. The TensorRT variants
are the FP32 ONNX files, whose engine the device builds in half precision; the Edge TPU's is the
full-integer network compiled for it: all three are given the accuracy of the file they come from. Memory is
the resident set of a worker with that variant on x86-64, rounded up; TensorRT's and the Edge TPU's are taken
to be that of the file they come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from agent.schema.document import to_json
from agent.schema.manifest import GoldenSpec, InputSpec, Manifest, SealedFile, Variant
from agent.schema.values import BackendName, FamilyName, Precision

CLASSES = 80


class Fact(NamedTuple):
    """One model file: what a manifest says of it."""

    id: str
    size: int
    accuracy: float
    memory_mb: int
    file: str
    file_bytes: int
    sha256: str
    family: FamilyName = FamilyName.ULTRALYTICS
    needs: str = ""


# fmt: off
FACTS = (
    Fact("onnxruntime-fp32-640", 640, 0.451, 155, "yolo11n_640_fp32deq.onnx", 10701899,
         "5ab86c84236d2a9c8352a18bc6b6019e6a5ee314635dfb976ef9032d62acbbca"),
    Fact("onnxruntime-fp32-320", 320, 0.332, 120, "yolo11n_320_fp32deq.onnx", 10575903,
         "44041be6d37830caff344d06e7dcacbf43c50a2d3812acb1ee100d13d9f2c02e"),
    Fact("onnxruntime-int8-320", 320, 0.331, 110, "yolo11n_320_int8.onnx", 2923867,
         "5ea9b19c6c4d89041175fd2d4f9d2e1581d16f37b817021d547278fc5e2f2b58"),
    Fact("litert-dynamic-int8-640", 640, 0.454, 135, "yolo11n_640_dynrange_int8.tflite", 3026247,
         "4ee1bf62fe1574dcb1202fc5e561dfe6d310aa9df930864b93a9b640496b003c"),
    Fact("litert-int8-640", 640, 0.405, 105, "yolo11n_640_full_integer_quant.tflite", 2984231,
         "67c1de0ae0fe8dcb738cc5499f577b0454aba2f9cc3db849f12a1210878703c5"),
    Fact("litert-int8-416", 416, 0.333, 90, "yolo11n_416_full_integer_quant.tflite", 3296640,
         "9d89088ef2c23a296bff00e101a869b5ce9ffcf7af9e4c2ffb26ec26cc3efd1d"),
    Fact("litert-int8-224", 224, 0.240, 80, "yolo11n_224_full_integer_quant.tflite", 3281520,
         "a0fdd1b36636b16c41a3dbb5ab6be2b1b33a9541beee32bf92abbeb312d0a415"),
    Fact("litert-int8-320", 320, 0.351, 90, "yolov8n_320_int8_floatio.tflite", 3283365,
         "60f95229b3dac6b01cb732bb2273b053ffd76751b074a89573f840b20228603c"),
    Fact("litert-int8-640-e2e", 640, 0.463, 160, "yolo26n_640_int8_end2end.tflite", 3252605,
         "07208d976637f1490dbb6539e7a8dee0071573c75b0a345243ffa54cedbfb645",
         FamilyName.ULTRALYTICS_E2E),
    Fact("onnxruntime-fp32-416-yolox", 416, 0.335, 110, "yolox_nano_416_fp32.onnx", 3660092,
         "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14", FamilyName.YOLOX),
    Fact("litert-fp16-416-yolox", 416, 0.336, 100, "yolox_nano_416_float16.tflite", 1949744,
         "6518faf758f5827fb8412c38d2240b7722027c299596518e1f94e678af1e6e29", FamilyName.YOLOX),
    Fact("tensorrt-fp16-640", 640, 0.451, 155, "yolo11n_640_fp32deq.onnx", 10701899,
         "5ab86c84236d2a9c8352a18bc6b6019e6a5ee314635dfb976ef9032d62acbbca"),
    Fact("tensorrt-fp16-320", 320, 0.332, 120, "yolo11n_320_fp32deq.onnx", 10575903,
         "44041be6d37830caff344d06e7dcacbf43c50a2d3812acb1ee100d13d9f2c02e"),
    Fact("litert-int8-416-edgetpu", 416, 0.333, 90, "yolo11n_416_edgetpu.tflite", 1, "e" * 64,
         needs="edgetpu"),
)
# fmt: on


def coco_manifest() -> Manifest:
    """The release as its makers would describe it."""
    nothing = SealedFile(file="golden.sealed", size=1, sha256="0" * 64)
    return Manifest(
        schema=1,
        name="coco",
        version="1.0",
        device_class="demo",
        release_counter=1,
        min_agent="0.1",
        labels=[f"class-{number}" for number in range(CLASSES)],
        variants=[_variant(fact) for fact in FACTS],
        golden=GoldenSpec(payload=nothing),
    )


def write_manifest(folder: Path, manifest: Manifest | None = None) -> Path:
    """Write the release's manifest into a folder."""
    path = folder / "manifest.json"
    path.write_bytes(to_json(manifest or coco_manifest()))
    return path


def _variant(fact: Fact) -> Variant:
    backend, precision = _kind(fact.id)
    is_tflite = fact.file.endswith(".tflite")
    is_yolox = fact.family is FamilyName.YOLOX
    plain = InputSpec(width=fact.size, height=fact.size, layout="nhwc" if is_tflite else "nchw")
    yolox = InputSpec(
        width=fact.size, height=fact.size, colour="bgr", scale=1.0, letterbox="top-left"
    )
    return Variant(
        id=fact.id,
        backend=backend,
        precision=precision,
        family=fact.family,
        input=yolox if is_yolox else plain,
        payload=SealedFile(file=f"{fact.file}.sealed", size=fact.file_bytes, sha256=fact.sha256),
        accuracy=fact.accuracy,
        memory_mb=fact.memory_mb,
        box_units="normalised" if is_tflite and not is_yolox else "pixels",
        needs={fact.needs: True} if fact.needs else {},
    )


def _kind(identity: str) -> tuple[BackendName, Precision]:
    backend, _, rest = identity.partition("-")
    longest_first = sorted(Precision, key=lambda each: -len(each.value))
    precision = next(each for each in longest_first if rest.startswith(each.value))
    return BackendName(backend), precision
