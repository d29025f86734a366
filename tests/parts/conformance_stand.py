"""The conformance client's command line against a real web server or a real broker's block server.

stand = Stand(tmp_path, repository, f"{server.url}/metadata", f"{server.url}/targets")
assert stand.initialise() == 0 and stand.refresh() == 0
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata

from tests.parts.conformance_client import main
from tests.parts.signed_repository import SignedRepository

ROLES = ("root", "timestamp", "snapshot", "targets")


@dataclass
class Stand:
    """One device's folders and the commands that the suite would give."""

    folder: Path
    repository: SignedRepository
    metadata_url: str
    targets_url: str

    def __post_init__(self) -> None:
        self.metadata, self.targets = self.folder / "metadata", self.folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()

    def initialise(self, root: bytes | None = None) -> int:
        """Trust `root`, or the repository's first."""
        file = self.folder / "trusted_root.json"
        file.write_bytes(self.repository.root_bytes if root is None else root)
        return main(["--metadata-dir", str(self.metadata), "init", str(file)])

    def refresh(self) -> int:
        return main([*self._where(), "refresh"])

    def download(self, path: str) -> int:
        return main([*self.download_options(path), "download"])

    def download_options(self, path: str) -> list[str]:
        where = [*self._where(), "--target-name", path, "--target-dir", str(self.targets)]
        return [*where, "--target-base-url", self.targets_url]

    @property
    def versions(self) -> dict[str, int]:
        """The versions of the top-level roles that the client trusts."""
        files = [self.metadata / f"{role}.json" for role in ROLES]
        return {
            file.stem: Metadata.from_bytes(file.read_bytes()).signed.version
            for file in files
            if file.exists()
        }

    @property
    def published(self) -> dict[str, int]:
        """The versions that the repository is at."""
        return {role: getattr(self.repository, role).version for role in ROLES}

    @property
    def downloaded(self) -> list[bytes]:
        """The contents of the files in the target folder, by name."""
        return [file.read_bytes() for file in sorted(self.targets.iterdir())]

    def _where(self) -> list[str]:
        return ["--metadata-dir", str(self.metadata), "--metadata-url", self.metadata_url]
