"""Home Assistant, as the agent connects it: what it is told of the other parts. Nothing where it is off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent import __version__
from agent.app.standing import Standing
from agent.control.home_assistant import HomeAssistant, Ports
from agent.control.home_entities import Facts
from agent.host.loop import Runnable
from agent.schema.home_assistant import UpdateProgress
from agent.schema.ipc import FrameResult
from agent.schema.messages import Phase
from agent.schema.topics import DeviceTopics

_PICTURE = (960, 80)  # greatest width in pixels, quality of the JPEG
_RESTING = frozenset({Phase.IDLE, Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})


@dataclass(frozen=True)
class Home:
    """Feeds and runs Home Assistant's view, where the configuration asks for it."""

    standing: Standing
    view: HomeAssistant | None

    def frame(self, result: FrameResult) -> None:
        """Count the objects of one frame."""
        release = self.standing.supervisor.release
        if self.view is None or release is None or result.error:
            return
        names = release.manifest.labels
        labels = [names[box.label] for box in result.boxes if box.label < len(names)]
        self.view.tallies.saw(result.camera, labels)

    @property
    def bodies(self) -> list[Runnable]:
        """What has to run."""
        return [] if self.view is None else [self.view]


def make_home(standing: Standing, topics: DeviceTopics, report: Callable[[], None]) -> Home:
    """Return Home Assistant's view of the device; `report` sends measurements now."""
    device, config = standing.device, standing.device.config
    cameras = tuple(camera.name for camera in config.cameras)

    def facts() -> Facts:
        release = standing.supervisor.release
        labels = tuple(release.manifest.labels) if release else ()
        return Facts(__version__, device.facts.model or device.profile.name, cameras, labels)

    def picture(camera: str) -> bytes:
        return standing.supervisor.grab(camera, *_PICTURE)[1]

    if not config.home_assistant.enabled:
        return Home(standing, None)

    ports = Ports(facts, lambda: progress_of(standing), picture, report, device.ledger.record)
    return Home(standing, HomeAssistant(config.home_assistant, topics, standing.link, ports))


def progress_of(standing: Standing) -> UpdateProgress:
    """Return the update as Home Assistant shows it."""
    record, moved = standing.updater.record, standing.update_watch.progress
    release = standing.supervisor.release
    installed = release.manifest.release_id if release else "none"
    is_busy = record.phase not in _RESTING
    offered = (
        record.candidate.path.removeprefix("models/").removesuffix("/manifest.json")
        if (record.candidate and is_busy)
        else installed
    )
    return UpdateProgress(
        installed_version=installed,
        latest_version=offered,
        title="Model",
        in_progress=is_busy,
        update_percentage=moved.done * 100 // max(moved.total, 1) if moved and is_busy else None,
    )
