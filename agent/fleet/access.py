"""Who may use which topic: one table for the embedded broker and for mosquitto's access file (pure).

A device sees only its own topics, its groups' commands and the hint. The controller serves everybody.
People's consoles read, and send only envelopes that devices check for themselves.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from agent.schema.topics import DEFAULT_PREFIX, DeviceTopics

CONTROLLER = "controller"  # serves and listens
DESK = "controller-desk"  # relays one person's command, beside the running controller
WATCH = "controller-watch"  # looks at everything and may say nothing
CONTROLLERS = (CONTROLLER, DESK, WATCH)
BULK_SUFFIX = "-bulk"  # client id of a device's second connection, for transfers
DEVICE_WRITES = (
    "reply",
    "state",
    "telemetry",
    "telemetry/delta",
    "event/#",
    "zone/#",
    "detections/#",
    "governor",
    "drift",
    "blk/req",
    "key/req",
    "crt/req",
    "ha/update",
    "ha/camera/#",
    "ha/picture/#",
)
DEVICE_READS = ("cmd", "blk/rsp", "key/rsp", "crt/rsp", "ha/press")
# Where Home Assistant looks for devices, unless it is told to look elsewhere.
DISCOVERY = "homeassistant/device/{device}/config"


def instance_name(instance: int) -> str:
    """Return the name of one of several controllers on a broker, which lets in each name once; 0 is the only one's."""
    return f"{CONTROLLER}-{instance}" if instance else CONTROLLER


def is_controller(user: str) -> bool:
    """Return whether a user may use every topic; no device has a name that begins so."""
    return user in {CONTROLLER, DESK} or user.removeprefix(f"{CONTROLLER}-").isdecimal()


def device_may_publish(device: str, topic: str, prefix: str = DEFAULT_PREFIX) -> bool:
    """Return whether `device` may publish on `topic`."""
    own = DeviceTopics(device, prefix)
    if topic == DISCOVERY.format(device=device):
        return True
    return any(matches(topic, own.leaf(leaf)) for leaf in DEVICE_WRITES)


def device_may_receive(
    device: str, groups: AbstractSet[str], topic: str, prefix: str = DEFAULT_PREFIX
) -> bool:
    """Return whether `device`, a member of `groups`, may subscribe to and receive `topic`."""
    own = DeviceTopics(device, prefix)
    allowed = {own.leaf(leaf) for leaf in DEVICE_READS} | {own.hint}
    allowed |= {own.group_command(group) for group in groups}
    # Exactly these: a filter with wildcards is never allowed to a device.
    return topic in allowed


def matches(topic: str, pattern: str) -> bool:
    """Return whether a topic without wildcards matches an MQTT filter (MQTT 3.1.1, section 4.7)."""
    names, levels = topic.split("/"), pattern.split("/")
    if levels[-1] == "#":
        levels = levels[:-1]
        names = names[: len(levels)] if len(names) > len(levels) else []
    return len(names) == len(levels) and all(
        level in {"+", name} for name, level in zip(names, levels, strict=True)
    )
