"""mosquitto's configuration and access file for a fleet: TLS 1.3, certificates, one rule set for all devices.

Tried with mosquitto 2.0. Access file and revocation list are read again on SIGHUP, after devices joined, changed
groups or were revoked. A revoked device that is connected may do nothing more; it cannot connect again.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from agent.fleet.access import CONTROLLERS, DEVICE_READS, DEVICE_WRITES, DISCOVERY, WATCH
from agent.fleet.registry import DeviceRecord
from agent.schema.topics import DEFAULT_PREFIX, DeviceTopics

MAIN, BULK = "mosquitto", "mosquitto-bulk"
_START_S = 10.0
REVOKED = "revoked.pem"
_CONFIGURATION = """\
# mosquitto for a Vigil fleet.
{user}pid_file {folder}/{name}.pid
listener {port} {host}
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
crlfile {folder}/{revoked}
tls_version tlsv1.3

# The certificate's common name is the user and the client id; nobody connects without one, and nobody
# throws out another client by taking its id.
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {folder}/acl

# Small blocks crawl without this; a block with its header must fit, anything larger is refused.
set_tcp_nodelay true
max_packet_size 300000

# Clients that do not read must not fill the broker's memory; yet while the controller is away for a moment, a fleet of
# ten thousand says a few thousand things a second.
max_queued_messages 100000
max_queued_bytes 67108864
max_inflight_messages 100
persistent_client_expiration 14d
{persistence}"""


def mosquitto_configuration(
    folder: Path,
    port: int = 8883,
    host: str = "127.0.0.1",
    state: Path | None = None,
    name: str = MAIN,
) -> str:
    """Return `mosquitto.conf`, for the present user: started by root, mosquitto becomes that user to read its files.

    Args:
        folder: Has ca.crt, broker.crt, broker.key, revoked.pem and acl, readable by the present user.
        port: To listen on.
        host: Address to listen on.
        state: Folder for sessions and retained messages; none are kept without it.
        name: Of the broker, for the file that says its process id.
    """
    kept = f"persistence true\npersistence_location {state}/\n" if state is not None else ""
    return _CONFIGURATION.format(
        user=_present_user(),
        folder=folder,
        port=port,
        host=host,
        persistence=kept,
        name=name,
        revoked=REVOKED,
    )


def access_file(
    devices: Iterable[DeviceRecord],
    prefix: str = DEFAULT_PREFIX,
    controllers: Iterable[str] = CONTROLLERS,
) -> str:
    """Return mosquitto's access file: patterns for every device, group topics for each one's groups."""
    own = DeviceTopics("%u", prefix)
    lines = []
    for user in controllers:
        right = "read" if user == WATCH else "readwrite"
        lines += [f"user {user}", f"topic {right} {prefix}/#", ""]
    for device in devices:
        lines.append(f"user {device.id}")
        if device.revoked:
            lines += ["topic deny #", ""]
            continue
        lines.append(f"topic read {own.hint}")
        lines += [f"topic read {own.group_command(group)}" for group in device.groups]
        lines.append("")
    lines += [f"pattern write {own.leaf(leaf)}" for leaf in DEVICE_WRITES]
    lines.append(f"pattern write {DISCOVERY.format(device='%u')}")
    lines += [f"pattern read {own.leaf(leaf)}" for leaf in DEVICE_READS]
    return "\n".join(lines) + "\n"


def reload(folder: Path) -> bool:
    """Have the mosquittos of `folder` read their files again; return whether any runs on this machine as this user."""
    told = [_reload(folder / f"{name}.pid") for name in (MAIN, BULK)]
    return any(told)


def _present_user() -> str:
    try:
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}\n"
    except KeyError:  # in a container: a number without a name, and never root
        return ""


def _reload(pid_file: Path) -> bool:
    try:
        process = int(pid_file.read_text())
        # The file may be of a broker that died; its number may be somebody else's by now.
        if not Path(f"/proc/{process}/comm").read_text().startswith(MAIN):
            return False
        # It takes connections before it listens to signals: SIGHUP would end a broker that is just starting.
        end_s = time.monotonic() + _START_S
        while not _catches(process, signal.SIGHUP):
            if time.monotonic() > end_s:
                return False
            time.sleep(0.01)
        os.kill(process, signal.SIGHUP)
    except (OSError, ValueError):
        return False
    return True


def _catches(process: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal (proc_pid_status(5), SigCgt)."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
