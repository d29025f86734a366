"""The command line of the public suite theupdateframework/tuf-conformance over the code devices use.

    scripts/tuf_conformance_client --metadata-dir DIR init ROOT_JSON
    scripts/tuf_conformance_client --metadata-dir DIR --metadata-url URL refresh
    scripts/tuf_conformance_client --metadata-dir DIR --metadata-url URL \
        --target-name PATH --target-dir DIR --target-base-url URL download

A URL is `http(s)://…`, or `mqtt://HOST:PORT/DEVICE/FOLDER` for the block protocol over a broker. Exit code 0 for
success, 1 for anything refused. Trust client, sources, fetcher and floor are the device's; only the
device's rule for target paths (`trust.path`) is left out, because the suite names its files freely.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from tuf.api.metadata import TargetFile

from agent.control.link import Link
from agent.errors import StorageError, VigilError
from agent.host.disk import REAL_DISK
from agent.schema.config import BrokerConfig
from agent.schema.topics import DeviceTopics
from agent.trust.floor import Floor
from agent.update.fetch import fetch_file
from agent.update.ports import Source
from agent.update.sources.blocks import BlockSource
from agent.update.sources.failover import FailoverSource
from agent.update.sources.https import HttpsSource
from agent.update.targets import Target, target_from
from agent.update.trust_client import TrustClient, Trusted


class _Folder:
    """A `Source` whose paths begin with `name/`, which stands for a folder of another source."""

    def __init__(self, inner: Source, name: str, folder: str = "") -> None:
        self._inner, self._name, self._folder = inner, f"{name}/", folder

    def read(self, path: str, start: int) -> Iterator[bytes]:
        return self._inner.read(self._folder + path.removeprefix(self._name).lstrip("/"), start)


@contextlib.contextmanager
def road(url: str, name: str) -> Iterator[Source]:
    """Open the source behind `url`, which is the folder called `name` in our repositories."""
    parts = urlsplit(url)
    if parts.scheme != "mqtt":
        yield _Folder(HttpsSource(url), name)
        return
    device, _, folder = parts.path.strip("/").partition("/")
    broker = BrokerConfig(
        host=parts.hostname or "", port=parts.port or 1883, protocol="5", allow_plaintext=True
    )
    link = Link(broker, DeviceTopics(device))
    source = BlockSource(link.channel("blk"))
    link.start()
    try:
        yield _Folder(source, name, f"{folder}/" if folder else "")
    finally:
        link.stop(1.0)


def initialise(metadata: Path, root: Path) -> None:
    """Keep the root that is trusted from now on; it is judged at the first refresh."""
    (metadata / "bootstrap").write_bytes(root.read_bytes())


def refresh(metadata: Path, source: Source) -> Trusted:
    """Bring the top-level metadata up to date; raises as `TrustClient.check`."""
    bootstrap = (metadata / "bootstrap").read_bytes()
    return TrustClient(metadata, bootstrap, Floor(metadata / "floor"), "").check(source)


def download(options: argparse.Namespace, source: Source) -> None:
    """Bring the target to the target folder, under its quoted path."""
    metadata, name = Path(options.metadata_dir), str(options.target_name)
    target = _described(refresh(metadata, source).listed(name))
    part, blob = metadata / "part", Path(options.target_dir) / quote(name, "")
    with road(options.target_base_url, "targets") as targets:
        fetch_file(FailoverSource([targets]), target, part, blob, REAL_DISK, lambda _: None)


def _described(listed: TargetFile) -> Target:
    plain = TargetFile(listed.length, listed.hashes, "any/name", listed.unrecognized_fields)
    return replace(target_from(plain), path=listed.path)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tuf_conformance_client")
    parser.add_argument("--metadata-dir", required=True)
    for name in ("metadata-url", "target-name", "target-dir", "target-base-url"):
        parser.add_argument(f"--{name}")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("init").add_argument("trusted_root")
    actions.add_parser("refresh")
    actions.add_parser("download")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    options = _options(arguments)
    metadata = Path(options.metadata_dir)
    try:
        if options.action == "init":
            initialise(metadata, Path(options.trusted_root))
            return 0
        with road(options.metadata_url, "metadata") as source:
            if options.action == "refresh":
                refresh(metadata, source)
            else:
                download(options, source)
    except (VigilError, OSError) as error:
        code = error.code if isinstance(error, VigilError) else StorageError.default_code
        print(f"{code}: {error}", file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
