"""The part `update` of the operator's configuration file: how releases are fetched, tried and kept."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.schema.values import Counter, Fraction, Positive, PositiveFloat, Struct

_TIME = r"([01]\d|2[0-3]):[0-5]\d"
DayWindow = Annotated[str, msgspec.Meta(pattern=rf"^{_TIME}-{_TIME}$(?!\n)")]


class ProbationConfig(Struct):
    """What a new model must bear on live frames before it is kept.

    Attributes:
        seconds: Length of probation.
        frames: Least number of frames that must have been processed in it.
        max_error_rate: Greatest share of frames whose inference failed.
        max_p95_ms: Greatest p95 of inference, milliseconds; null for the profile's limit.
        max_restarts: Worker deaths that are borne.
        max_temperature_c: Greatest temperature that may last, degrees Celsius; null for the profile's limit.
        max_memory_pressure: Greatest share of time in which tasks wait for memory that may last, percent.
        max_memory_mb: Greatest memory (PSS) of the worker that may last, MiB; null for the profile's limit.
        margin: Share by which each of these three may exceed what it was just before the update, should it have
            been near or over its limit then.
        min_agreement: Least share of the objects that the previous model sees on live frames and the new one must
            see, too, unless the release says otherwise; null asks for none.
    """

    seconds: PositiveFloat = 300.0
    frames: Positive = 100
    max_error_rate: Fraction = 0.01
    max_p95_ms: PositiveFloat | None = None
    max_restarts: int = 0
    max_temperature_c: PositiveFloat | None = None
    max_memory_pressure: PositiveFloat = 20.0
    max_memory_mb: Positive | None = None
    margin: Fraction = 0.1
    min_agreement: Fraction | None = None


class RepositoryConfig(Struct):
    """A web server of the repository's static files, any or a CDN; MQTT blocks are the second road then.

    Attributes:
        url: The repository's folder, `https://…`; `http://` only on a closed network: trust comes from signatures,
            but everybody on the way sees which release is fetched.
        ca: PEM certificate of the authority that signed the server; null for the system's authorities.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s?#]+$(?!\n)", max_length=512)]
    ca: str | None = None


class MeteredConfig(Struct):
    """What the link may be used for; by the device's own clock and time zone.

    Attributes:
        daily_mb: Megabytes (10^6 bytes) of the repository that may be fetched on one day; null for any number.
        hours: Windows `HH:MM-HH:MM` in which large files are fetched, across midnight too; empty for always.
    """

    daily_mb: PositiveFloat | None = None
    hours: list[DayWindow] = []


class AgentUpdateConfig(Struct):
    """What a new version of the agent must show; all times in seconds.

    Attributes:
        health_s: How long broker and detection must be well without a break.
        deadline_s: When it is given up.
        ready_s: How long its start may take.
        silence_s: How long it may show no sign of life.
    """

    health_s: PositiveFloat = 120.0
    deadline_s: PositiveFloat = 900.0
    ready_s: PositiveFloat = 120.0
    silence_s: PositiveFloat = 60.0


class UpdateConfig(Struct):
    """How updates are fetched and tried.

    `fallback_variants` cheaper variants of a release are kept beside the chosen one for the governor.
    Without `repository`, everything comes as MQTT blocks.
    """

    repository: RepositoryConfig | None = None
    metered: MeteredConfig = MeteredConfig()
    probation: ProbationConfig = ProbationConfig()
    trial_timeout_s: PositiveFloat = 120.0
    transfer_timeout_s: PositiveFloat = 3600.0
    min_rate_kib_s: PositiveFloat = 4.0
    worker_memory_mb: Positive = 2048
    fallback_variants: Counter = 1
    agent: AgentUpdateConfig = AgentUpdateConfig()
