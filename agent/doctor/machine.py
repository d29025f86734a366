"""Rules about the machine: space, wear, clock, power, logs. Pure: what was read in, findings out.

Sources: JEDEC eMMC 5.1, registers 267 to 269 (PRE_EOL_INFO, DEVICE_LIFE_TIME_EST); Linux,
Documentation/ABI/stable/sysfs-fs-ext4 (`errors_count`); adjtimex(2), STA_UNSYNC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.doctor.findings import good, problem, warning
from agent.schema.doctor import Finding
from agent.schema.facts import Throttling

FULL_MB = 64
TIGHT_MB = 512
WORN_PERCENT = 80
_EOL = {2: "most of its spare blocks are used up", 3: "nearly all of its spare blocks are used up"}
_CLOCK_SLACK_S = 60
_OVER_CURRENT_FIX = (
    "use the power supply that came with the board; choose a lower mode: sudo nvpmodel -m 1"
)


@dataclass(frozen=True)
class DiskSeen:
    """The file system under the state folder.

    Attributes:
        device: Block device, empty when not known.
        free_files: Files that can still be created; None where the file system does not count them.
        life_percent: Estimated wear of eMMC in steps of ten, None when the device does not say.
        pre_eol: eMMC's own warning: 1 normal, 2 warning, 3 urgent; None when it does not say.
        errors: Errors that ext4 has recorded.
    """

    folder: str
    free_mb: int
    read_only: bool = False
    device: str = ""
    free_files: int | None = None
    life_percent: int | None = None
    pre_eol: int | None = None
    errors: int = 0


@dataclass(frozen=True)
class ClockSeen:
    """The clock.

    Attributes:
        synchronised: What the kernel says; None when it was not asked.
        floor_s: The latest time this device knows to have passed.
        zone: Time zone of the system, empty when none is set.
        journal_kept: Whether the journal survives a restart; None without a journal.
    """

    now_s: int
    synchronised: bool | None
    floor_s: int = 0
    zone: str = ""
    journal_kept: bool | None = None


@dataclass(frozen=True)
class PowerSeen:
    """Why the board may be slow, and how hot it is."""

    throttling: Throttling = field(default_factory=Throttling)
    temperature_c: float | None = None
    limit_c: float | None = None


def judge_disk(seen: DiskSeen) -> Iterator[Finding]:
    """Say whether the disk can keep what it is given, and for how long."""
    yield _space(seen)
    if seen.errors:
        yield problem(
            "disk.health",
            "disk.errors",
            f"{seen.device}: the file system has recorded {seen.errors} errors",
            "models, journal and identity lie there; the next error may lose them",
            f"copy /var/lib/vigil away, then check it: sudo touch /forcefsck && sudo reboot, or replace {seen.device}",
        )
    yield from _wear(seen)


def _space(seen: DiskSeen) -> Finding:
    place = f"{seen.folder} ({seen.device or 'device not known'})"
    if seen.read_only:
        return problem(
            "disk.space",
            "disk.read_only",
            f"{place} is mounted read-only",
            "no update, command or event can be kept; a failing card is remounted like this by the kernel",
            "look for the cause, then remount: journalctl -k -g 'I/O error'; sudo mount -o remount,rw /",
        )
    if seen.free_mb < FULL_MB or seen.free_files == 0:
        return problem(
            "disk.space",
            "disk.full",
            f"{place} has {seen.free_mb} MB and {seen.free_files} files left",
            "updates are refused and events are dropped",
            "make room: sudo journalctl --vacuum-size=50M; sudo apt-get clean",
        )
    if seen.free_mb < TIGHT_MB:
        return warning(
            "disk.space",
            "disk.tight",
            f"{place} has {seen.free_mb} MB left",
            "the next model may not fit beside the present one",
            "make room: sudo journalctl --vacuum-size=50M; sudo apt-get clean",
        )
    return good("disk.space", f"{place} has {seen.free_mb} MB left")


def _wear(seen: DiskSeen) -> Iterator[Finding]:
    worn = seen.life_percent is not None and seen.life_percent >= WORN_PERCENT
    warned = _EOL.get(seen.pre_eol or 0, "")
    if worn or warned:
        figures = f"{seen.device} has used {seen.life_percent} % of its life"
        yield warning(
            "disk.wear",
            "disk.worn",
            f"{figures}; {warned}" if warned else figures,
            "worn flash fails without notice, and the device with it",
            "plan a replacement, and move logs into memory: Storage=volatile in /etc/systemd/journald.conf",
        )
    elif seen.life_percent is not None:
        yield good("disk.wear", f"{seen.device} has used {seen.life_percent} % of its life")


def judge_clock(seen: ClockSeen) -> Iterator[Finding]:
    """Say whether signed commands and certificates will be judged by the right time."""
    if seen.now_s < seen.floor_s - _CLOCK_SLACK_S:
        behind_h = (seen.floor_s - seen.now_s) / 3600
        yield problem(
            "clock",
            "clock.behind",
            f"the clock is {behind_h:.1f} h behind a time this device has seen before",
            "certificates look not yet valid, so that the broker cannot be reached",
            "set it: sudo timedatectl set-ntp true (or add a real-time clock with a battery)",
        )
    elif seen.synchronised is False:
        yield warning(
            "clock",
            "clock.unsynchronised",
            "the clock is not synchronised with a time server",
            "it drifts: commands are refused as expired, and events carry wrong times",
            "sudo timedatectl set-ntp true; timedatectl timesync-status",
        )
    else:
        said = "is synchronised" if seen.synchronised else "is plausible; the kernel was not asked"
        yield good("clock", f"the clock {said}")
    yield from _journal(seen)


def _journal(seen: ClockSeen) -> Iterator[Finding]:
    if seen.zone:
        yield good(
            "journal.zone", f"the journal shows times of {seen.zone}; messages carry Unix time"
        )
    else:
        yield warning(
            "journal.zone",
            "journal.no_zone",
            "no time zone is set",
            "times in the journal cannot be compared with those of other machines",
            "sudo timedatectl set-timezone Etc/UTC",
        )
    if seen.journal_kept is False:
        yield warning(
            "journal.kept",
            "journal.volatile",
            "the journal is lost at every restart",
            "after a crash or a power cut nothing tells what happened before",
            "sudo mkdir -p /var/log/journal && sudo systemctl restart systemd-journald",
        )


def judge_power(seen: PowerSeen) -> Iterator[Finding]:
    """Say whether the board runs at its full speed."""
    found = list(_power_faults(seen))
    yield from found
    if not found:
        heat = "" if seen.temperature_c is None else f", {seen.temperature_c:.0f} °C"
        yield good("power", f"no throttling and no under-voltage since the start{heat}")


def _power_faults(seen: PowerSeen) -> Iterator[Finding]:
    now, earlier = seen.throttling.now, seen.throttling.earlier
    if "under-voltage" in (*now, *earlier):
        when = "now" if "under-voltage" in now else "since the start"
        yield problem(
            "power.supply",
            "power.under_voltage",
            f"under-voltage {when}",
            "the board slows down, USB cameras drop out and writes to the card are damaged",
            "use a 5 V supply of 3 A (Raspberry Pi 4) or 5 A (Raspberry Pi 5) and a short cable",
        )
    slowed = [flag for flag in now if flag != "under-voltage"]
    if slowed:
        yield warning(
            "power.throttling",
            "power.throttled",
            f"the board is slowed down: {', '.join(slowed)}",
            "fewer frames are processed",
            "cool it (fan, heat sink, out of the sun); see it by: vcgencmd get_throttled",
        )
    events = {name: count for name, count in seen.throttling.over_current.items() if count}
    if events:
        listed = ", ".join(f"{name} {count} times" for name, count in events.items())
        yield warning(
            "power.supply",
            "power.over_current",
            f"over-current or under-voltage since the start: {listed}",
            "the module throttles itself, and may switch off",
            _OVER_CURRENT_FIX,
        )
    if seen.temperature_c is not None and seen.temperature_c >= (seen.limit_c or 1000):
        yield warning(
            "power.temperature",
            "power.hot",
            f"{seen.temperature_c:.0f} °C, the profile's limit is {seen.limit_c:.0f} °C",
            "the governor lowers rate and resolution, and the board may throttle",
            "cool it: fan, heat sink, out of the sun",
        )
