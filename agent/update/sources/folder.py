"""Files of a repository that lies in a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import TransferError

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class FolderSource:
    """A `Source` over the published folder of a repository: the one with `metadata/` and `targets/`."""

    folder: Path

    def read(self, path: str, start: int) -> Iterator[bytes]:
        """Yield a file's bytes; see `agent.update.ports.Source`."""
        try:
            with (self.folder / path).open("rb") as file:
                file.seek(start)
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except FileNotFoundError as error:
            raise TransferError(f"{path}: not there", code="transfer.not_found") from error
        except OSError as error:
            raise TransferError(f"{path}: {error.strerror or error}") from error
