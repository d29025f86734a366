"""Every MQTT topic, built and parsed here and nowhere else.

`<prefix>/d/<device>/<leaf>` belongs to one device, `<prefix>/g/<group>/cmd` to a group and
`<prefix>/hint` to all. The prefix is `vigil/1` unless a site configures another.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PREFIX = "vigil/1"
DEVICE_LEAVES = frozenset(
    {
        "cmd",
        "reply",
        "state",
        "telemetry",
        "telemetry/delta",
        "event",
        "zone",
        "detections",
        "governor",
        "drift",
        "blk/req",
        "blk/rsp",
        "key/req",
        "key/rsp",
        "crt/req",
        "crt/rsp",
    }
)


@dataclass(frozen=True)
class DeviceTopics:
    """Topics of one device."""

    device: str
    prefix: str = DEFAULT_PREFIX

    def leaf(self, name: str) -> str:
        """Return the topic `<prefix>/d/<device>/<name>`."""
        return f"{self.prefix}/d/{self.device}/{name}"

    def group_command(self, group: str) -> str:
        """Return the topic on which a whole group is commanded."""
        return f"{self.prefix}/g/{group}/cmd"

    @property
    def command(self) -> str:
        """Commands to this device (DSSE envelopes)."""
        return self.leaf("cmd")

    @property
    def reply(self) -> str:
        """Replies of this device, by command id."""
        return self.leaf("reply")

    @property
    def state(self) -> str:
        """Retained state of this device; the last will is its offline form."""
        return self.leaf("state")

    @property
    def telemetry(self) -> str:
        """Periodic measurements."""
        return self.leaf("telemetry")

    @property
    def telemetry_delta(self) -> str:
        """What changed of them, on metered links."""
        return self.leaf("telemetry/delta")

    @property
    def governor(self) -> str:
        """Steps of this device's governor."""
        return self.leaf("governor")

    @property
    def drift(self) -> str:
        """Cameras that drifted, or do so no more."""
        return self.leaf("drift")

    @property
    def hint(self) -> str:
        """Retained wake-up for all devices: new metadata may exist. Never trusted."""
        return f"{self.prefix}/hint"

    def event(self, camera: str) -> str:
        """Return the topic of one camera's object events."""
        return self.leaf(f"event/{camera}")

    def zone(self, camera: str) -> str:
        """Return the topic of what objects do at one camera's zones and lines."""
        return self.leaf(f"zone/{camera}")

    def detections(self, camera: str) -> str:
        """Return the topic of one camera's per-frame detections."""
        return self.leaf(f"detections/{camera}")

    # for Home Assistant, where configured

    @property
    def ha_update(self) -> str:
        """How the update is, retained."""
        return self.leaf("ha/update")

    @property
    def ha_press(self) -> str:
        """Presses of buttons, where local control is allowed."""
        return self.leaf("ha/press")

    def ha_camera(self, camera: str) -> str:
        """Return the topic of a camera's counts, retained."""
        return self.leaf(f"ha/camera/{camera}")

    def ha_picture(self, camera: str) -> str:
        """Return the topic of a camera's pictures (JPEG)."""
        return self.leaf(f"ha/picture/{camera}")


@dataclass(frozen=True)
class ParsedTopic:
    """A device topic taken apart: `leaf` without the camera, which is in `camera` or empty."""

    device: str
    leaf: str
    camera: str = ""


def parse(topic: str, prefix: str = DEFAULT_PREFIX) -> ParsedTopic | None:
    """Take a device topic apart; return None when it is not one of ours."""
    if not topic.startswith(f"{prefix}/d/"):
        return None
    device, _, rest = topic[len(prefix) + 3 :].partition("/")
    leaf, _, tail = rest.partition("/")
    if leaf in {"event", "zone", "detections"} and tail:
        return ParsedTopic(device, leaf, tail)
    return ParsedTopic(device, rest) if rest in DEVICE_LEAVES else None
