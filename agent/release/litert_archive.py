"""The zip archive behind a .tflite file, where exporters keep what they say of the model."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

_METADATA = "metadata.json"
# The least that a zip archive can hold.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def split(model: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Return the network, and the archive's files by name; none where there is no archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = archive.infolist()
            start = min(entry.header_offset for entry in entries)
            return model[:start], {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, ValueError):
        return model, {}


def joined(network: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the network with an archive of `files` behind it, which has no date."""
    if not files:
        return network
    made = io.BytesIO(network)
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_DATE), data)
    return made.getvalue()


def dateless(model: bytes) -> bytes:
    """Return the file without the day of its export, so that the same checkpoint gives the same bytes."""
    network, files = split(model)
    if _METADATA in files:
        told = {
            name: value for name, value in json.loads(files[_METADATA]).items() if name != "date"
        }
        files[_METADATA] = json.dumps(told).encode()
    return joined(network, files)
