"""Checkpoints become model files where ultralytics is installed."""

import importlib.util
from pathlib import Path

import onnx
import pytest

from agent.errors import PackageError
from agent.release.export import OPSET, export_checkpoint
from agent.schema.values import BackendName, Precision

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="ultralytics is not installed (extra `release`)",
)
ARCHITECTURE = Path(__file__).parents[2] / "scripts/demo_model/parts-yolo11.yaml"
ONNX = (BackendName.ONNXRUNTIME, Precision.FP32)


@pytest.mark.slow
def test_the_same_checkpoint_gives_the_same_onnx_file(tmp_path: Path) -> None:
    from ultralytics import YOLO

    checkpoint = tmp_path / "parts.pt"
    YOLO(str(ARCHITECTURE), task="detect").save(str(checkpoint))
    first, second = (export_checkpoint(checkpoint, *ONNX, 320) for _ in range(2))
    assert first == second
    model = onnx.load_from_string(first)
    assert model.opset_import[0].version == OPSET
    shape = [one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 320, 320]
    assert {"names", "task"} <= {entry.key for entry in model.metadata_props}
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.slow
def test_an_exporter_s_progress_is_no_part_of_what_a_command_tells(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_checkpoint(checkpoint, BackendName.LITERT, Precision.FP32, 96)
    told = capsys.readouterr()
    assert "LiteRT" in told.err, "its progress, while it works"
    assert not told.out


def test_rubbish_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"rubbish")
    with pytest.raises(PackageError, match=r"bad\.pt: cannot be exported") as refusal:
        export_checkpoint(tmp_path / "bad.pt", *ONNX, 320)
    assert "\n" not in refusal.value.message
