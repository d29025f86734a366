"""Examples as they came from devices: opened with the fleet's key, read strictly."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ConfigError, TransferError, TrustError
from agent.schema.document import Malformed, parse_msgpack
from agent.schema.examples import EXAMPLE_PURPOSE, EXAMPLE_VERSION, Example
from agent.trust.sealed_box import open_box

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_MAX_BYTES = 16 << 20


def read_examples(folder: Path, private: ec.EllipticCurvePrivateKey) -> list[Example]:
    """Return the examples in all tars of a folder, by device, camera and time; one that came twice is there once.

    Raises:
        ConfigError: There are none (`examples.none`).
        TransferError: A file is not what a device sent.
        TrustError: `trust.box`: sealed to another key, or changed.
    """
    found = {
        (one.device, one.camera, one.captured_ms): one
        for tar in sorted(folder.glob("*.tar"))
        for one in _read(tar, private)
    }
    if not found:
        hint = "fetch some: vigil fleet send HOME d/DEVICE collect-examples --save FOLDER"
        raise ConfigError(f"{folder}: no examples in it", code="examples.none", hint=hint)
    return [found[key] for key in sorted(found)]


def _read(path: Path, private: ec.EllipticCurvePrivateKey) -> Iterator[Example]:
    try:
        with tarfile.open(path, mode="r:") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.size <= _MAX_BYTES else None
                if file is None:
                    raise _strange(path, f"{entry.name!r} is not an example")
                yield _open(file.read(), private, f"{path}: {entry.name}")
    except (OSError, tarfile.TarError) as error:
        raise _strange(path, str(error)) from error


def _open(box: bytes, private: ec.EllipticCurvePrivateKey, source: str) -> Example:
    try:
        example: Example = parse_msgpack(open_box(box, private, EXAMPLE_PURPOSE), Example)
    except TrustError as error:
        hint = "give the private half of the key in the device's configuration"
        raise TrustError(f"{source}: {error}", code=error.code, hint=hint) from error
    except Malformed as error:
        raise _strange(source, str(error)) from error
    if example.v != EXAMPLE_VERSION:
        raise _strange(source, f"expected version {EXAMPLE_VERSION}, found {example.v}")
    if any(not 0 <= box.label < len(example.labels) for box in example.boxes):
        raise _strange(source, f"a box of a class that {example.release} does not have")
    return example


def _strange(source: object, problem: str) -> TransferError:
    return TransferError(f"{source}: {problem}", hint="remove the file and fetch it again")
