"""Write what both runtimes answer to the same numbers, so that only arithmetic can differ.

python scripts/arm64/outputs.py FOLDER_WITH_MODELS OUT.npz        run both bundled models
python scripts/arm64/outputs.py --compare HERE.npz THERE.npz      largest difference of a score; 1 if ONNX's is not tiny
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# float32 sums in another order; LiteRT rounds activations to int8 on the way, where a hair tips a step.
MAX_SCORE = {"onnx": 1e-4, "tflite": 0.1}


def picture() -> NDArray[np.float32]:
    """Return one input, 1x3x320x320: smooth shapes, the same on every machine."""
    rows, columns = np.mgrid[0:320, 0:320].astype(np.float32) / 320
    planes = [np.abs(np.sin(9 * rows * k) * np.cos(7 * columns)) for k in (1, 2, 3)]
    return np.stack(planes)[None].astype(np.float32)


def run_onnx(model: Path) -> NDArray[np.float32]:
    """Return the raw output, 1x9x2100."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: picture()})[0])


def run_tflite(model: Path) -> NDArray[np.float32]:
    """Return the raw output, 1x9x2100."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    wanted = interpreter.get_input_details()[0]
    channels_last = wanted["shape"][-1] == picture().shape[1]
    image = picture().transpose(0, 2, 3, 1) if channels_last else picture()
    interpreter.set_tensor(wanted["index"], np.ascontiguousarray(image))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def compare(here: str, there: str) -> int:
    """Print the largest difference of a class score for each runtime; return the exit status."""
    wrong = 0
    one, other = np.load(here), np.load(there)
    for name, bound in MAX_SCORE.items():
        found = float(np.abs(one[name][0, 4:] - other[name][0, 4:]).max())
        print(f"{name}: same numbers in, scores differ by at most {found:.2g} (allowed {bound:g})")
        wrong |= found > bound
    return int(wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        sys.exit(compare(sys.argv[2], sys.argv[3]))
    folder = Path(sys.argv[1])
    np.savez(
        sys.argv[2],
        onnx=run_onnx(folder / "parts-1.onnx"),
        tflite=run_tflite(folder / "parts-1.tflite"),
    )
