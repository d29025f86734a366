"""A real python-tuf client of a repository's public folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from agent.release.repository import Repository

MANIFEST = "models/gate/people/1.0/manifest.json"


class FolderFetcher(FetcherInterface):
    """Serves a repository's public folder as a static web server would."""

    def __init__(self, public: Path) -> None:
        self.public = public

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self.public / url.removeprefix("folder:///")
        if not path.is_file():
            raise DownloadHTTPError("not found", 404)
        return iter([path.read_bytes()])


def client(repository: Repository, tmp_path: Path) -> Updater:
    folder = tmp_path / "device"
    folder.mkdir(exist_ok=True)
    updater = Updater(
        str(folder),
        "folder:///metadata/",
        target_dir=str(folder),
        target_base_url="folder:///targets/",
        fetcher=FolderFetcher(repository.public),
        config=UpdaterConfig(prefix_targets_with_hash=True),
        bootstrap=repository.root_bytes,
    )
    updater.refresh()
    return updater


def find(repository: Repository, tmp_path: Path, path: str) -> TargetFile:
    target = client(repository, tmp_path).get_targetinfo(path)
    assert target is not None, f"{path} is not listed"
    return target
