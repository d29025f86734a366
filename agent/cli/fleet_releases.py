"""What `vigil fleet` knows of the repository that its controller serves: the device classes, and the releases by their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.fleet.home import FleetHome
    from agent.schema.manifest import ReleaseRef
    from agent.schema.messages import Policy


def check_class(opened: FleetHome, device_class: str) -> None:
    """Refuse a class that no release could be published for.

    Raises:
        ConfigError: The repository has no such class.
    """
    from agent.release.repository import Repository

    classes = Repository(opened.repository).roles()
    if device_class not in classes:
        message = f"{device_class}: no device class of the repository"
        raise ConfigError(message, hint=f"it has {', '.join(classes)}")


def find_release(opened: FleetHome, label: str) -> tuple[ReleaseRef | None, list[ReleaseRef]]:
    """Return the published release of this label, `<class>/<name>/<version>`, if there is one, and all of its class.

    Raises:
        ConfigError: The label is none, or the repository has no such class.
    """
    from agent.release.repository import Repository

    device_class, _, release = label.partition("/")
    if not all(release.partition("/")) or release.count("/") > 1:
        raise ConfigError(f"release: expected <class>/<name>/<version>, found {label[:80]!r}")
    check_class(opened, device_class)
    published = Repository(opened.repository).releases(device_class)
    wanted = [ref for ref in published if ref.path.startswith(f"models/{label}/")]
    return (wanted[0] if wanted else None), published


def published_release(opened: FleetHome, label: str) -> ReleaseRef:
    """Return a published release by its label.

    Raises:
        ConfigError: It is not published, and so is signed by nobody.
    """
    found, others = find_release(opened, label)
    if found is None:
        labels = ", ".join(ref.label for ref in others) or "nothing"
        raise ConfigError(f"{label}: not published", hint=f"published in its class: {labels}")
    return found


def published_policy(opened: FleetHome) -> Policy | None:
    """Return the published command policy; None where there is none.

    Raises:
        TrustError: It is not what is listed.
        StorageError: It cannot be read.
    """
    from agent.host.disk import REAL_DISK
    from agent.release.repository import POLICY_PATH
    from agent.release.shelf import Shelf
    from agent.schema.document import trusted_json
    from agent.schema.messages import Policy

    shelf = Shelf(opened.repository, REAL_DISK)
    if POLICY_PATH not in shelf.published("policy").signed.targets:
        return None
    data = shelf.target_reader("policy", published=True)(POLICY_PATH)
    return trusted_json(data, Policy, POLICY_PATH)
