"""`vigil release gate`: what lost too much, gives NaN, has other shapes or another opinion each time is refused with the reason."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.cli.quantise import plain_int8
from agent.demo.scene import CLASSES
from agent.errors import PackageError
from agent.release.gate import Budget, ClassLoss, Evidence, reasons_against
from agent.vision.detector import load_detector
from tests.release.drafts import BUNDLED, CLIP, Alter, vigil

SOURCE = BUNDLED / "parts-2.onnx"


def variant(name: str, model: Path, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "model": str(model),
        "backend": "onnxruntime",
        "precision": "fp32",
        "family": "ultralytics",
        "input": {"width": 320, "height": 320},
        "accuracy": 0.6,
        "memory_mb": 256,
    } | changes


def altered(path: Path, *nodes: Any) -> Path:
    """The source with other nodes behind its output, which they take as `raw` and must give as `output0`."""
    model = onnx.load(SOURCE)
    for node in model.graph.node:
        outputs = ["raw" if name == "output0" else name for name in node.output]
        node.output[:] = outputs
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def restless(path: Path) -> Path:
    noise = helper.make_node("RandomNormalLike", ["raw"], ["noise"], scale=0.001, name="noise")
    return altered(path, noise, helper.make_node("Add", ["raw", "noise"], ["output0"], name="sum"))


def short(path: Path) -> Path:
    """One class less than it says."""
    ends = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [1], [at]))
        for name, at in (("start", 0), ("stop", 8), ("axis", 1))
    ]  # fmt: skip
    cut = helper.make_node("Slice", ["raw", "start", "stop", "axis"], ["output0"], name="cut")
    model = onnx.load(altered(path, *ends, cut))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    onnx.save(model, path)
    return path


def judge(draft: Path, scene: Path, *options: object) -> str:
    truth = ("--dataset", scene / "truth.json", "--images", scene / "pictures")
    return vigil("release", "gate", draft, "--source", SOURCE, "--clip", CLIP, *truth, *options)


def test_a_faithful_variant_passes_and_the_evidence_is_written(
    draft: Alter, scene: Path, tmp_path: Path
) -> None:
    path = draft(variants=[variant("same", SOURCE)])
    judge(path, scene, "--json", tmp_path / "gate.json")
    report = json.loads((tmp_path / "gate.json").read_text())
    (found,) = report["evidence"]
    assert report["refused"] == {}
    assert (found["recall"], found["precision"], found["repeat"]) == (1.0, 1.0, 0.0)
    assert found["accuracy"] == found["reference"] > 0.6
    source, same = report["figures"]
    assert source["steps"][0]["macs"] == same["steps"][0]["macs"] > 0
    assert (source["passed"], same["passed"]) == (None, True)


def test_every_way_to_be_wrong_is_refused_with_its_reason(
    draft: Alter, scene: Path, tmp_path: Path
) -> None:
    wrong_colours = {"width": 320, "height": 320, "colour": "bgr"}
    variants = [
        variant("same", SOURCE),
        variant("colours", SOURCE, input=wrong_colours),
        variant("nan", BUNDLED / "faulty-glare.onnx"),
        variant("restless", restless(tmp_path / "restless.onnx")),
        variant("short", short(tmp_path / "short.onnx")),
        variant("boastful", SOURCE, accuracy=0.9),
    ]
    with pytest.raises(PackageError) as refusal:
        judge(draft(variants=variants), scene, "--json", tmp_path / "gate.json")
    assert refusal.value.code == "package.gate"
    refused = json.loads((tmp_path / "gate.json").read_text())["refused"]
    assert set(refused) == {"colours", "nan", "restless", "short", "boastful"}
    assert "of mAP50-95" in refused["colours"][0]
    assert "model.not_finite" in refused["nan"][0]
    assert "two runs on one input differ" in refused["restless"][0]
    assert "model.classes" in refused["short"][0]
    assert "claims an accuracy of 0.9000" in refused["boastful"][0]
    assert all(name in refusal.value.message for name in refused)


def test_int8_calibrated_on_darkness_is_refused_and_nothing_is_written(
    draft: Alter, scene: Path, tmp_path: Path
) -> None:
    dark, model = tmp_path / "dark", tmp_path / "dark.onnx"
    dark.mkdir()
    cv2.imwrite(str(dark / "night.png"), np.zeros((360, 640, 3), np.uint8))
    model.write_bytes(plain_int8(load_detector(SOURCE), SOURCE, dark))
    judge(draft(variants=[variant("same", SOURCE)]), scene)  # takes the golden pictures, too
    path = draft(variants=[variant("same", SOURCE), variant("dark", model, precision="int8")])
    before = contents(tmp_path)
    with pytest.raises(PackageError) as refusal:
        judge(path, scene)
    assert refusal.value.code == "package.gate"
    assert refusal.value.message.startswith("1 of 2 variants refused: dark: loses 0.")
    assert "of mAP50-95, 0.0100 may be lost" in refusal.value.message
    assert "of the source's golden boxes" in refusal.value.message
    assert "calibrate on pictures like those your cameras take" in refusal.value.hint
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_single_class_may_not_pay_for_the_others() -> None:
    found = Evidence(
        variant="v",
        claimed=0.5,
        accuracy=0.5,
        reference=0.505,
        losses=[
            ClassLoss(label=CLASSES[1], objects=49, drop=0.5),
            ClassLoss(label=CLASSES[0], objects=50, drop=0.2),
            ClassLoss(label=CLASSES[2], objects=90, drop=-0.1),
        ],
        recall=1.0,
        precision=1.0,
    )
    assert reasons_against(found, Budget()) == ["class bolt loses 0.2000, 0.0500 may be lost"]
    assert reasons_against(found, Budget(max_class_drop=0.2)) == []


def test_disagreement_on_the_golden_pictures_counts_both_ways() -> None:
    half = Evidence(
        variant="v", claimed=0.5, accuracy=0.5, reference=0.5, recall=0.5, precision=0.5
    )
    finds, shares = reasons_against(half, Budget())
    assert "finds 0.500 of the source's" in finds
    assert "shares 0.500 of its" in shares
    assert np.isclose(half.drop, 0.0)
