"""Zones, lines and masks of the cameras: shown, checked, and handed on as a change of the configuration.

Whoever sends something wrong is told every fault with its place (`zones[1].polygon`), so that the page can show it
beside the field. What is right is put on trial by the agent, which undoes it when the device is not well with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from agent.console.sources import Settings
from agent.errors import CommandError, ConfigError
from agent.host.clock import wall_ms
from agent.schema.config import CameraConfig
from agent.schema.document import Malformed, parse_json, to_json
from agent.schema.settings import Verdict
from agent.schema.values import Struct
from agent.schema.zones import (
    LineConfig,
    MaskConfig,
    Places,
    SpeedConfig,
    ZoneConfig,
    find_faults,
)
from agent.web.answers import json_answer, refusal
from agent.web.bodies import read_body

PLACES_PATH = "/api/places/"
MAX_PLACES_BYTES = 64 * 1024
_PLACE = re.compile(r"at \$\.cameras\[\d+\]\.?(?:privacy\.)?(\S*): (.*)", re.DOTALL)


class PlacesDocument(Struct):
    """The places of one camera, as the page sends and gets them; coordinates are shares of the picture."""

    zones: tuple[ZoneConfig, ...] = ()
    lines: tuple[LineConfig, ...] = ()
    speeds: tuple[SpeedConfig, ...] = ()
    masks: tuple[MaskConfig, ...] = ()


class Fault(Struct):
    """What is wrong, and where below the camera's places; `place` is empty for the whole."""

    place: str
    message: str


class Standing(Struct):
    """Whether a change of settings is on trial, and how the last one ended."""

    trial: bool
    last: Verdict | None


def document_of(camera: CameraConfig) -> PlacesDocument:
    """Return a camera's places."""
    return PlacesDocument(
        zones=tuple(camera.zones),
        lines=tuple(camera.lines),
        speeds=tuple(camera.speeds),
        masks=tuple(camera.privacy.masks),
    )


def faults_of(document: PlacesDocument) -> list[Fault]:
    """Return everything that is wrong with a camera's places."""
    places = Places(document.zones, document.lines, document.speeds, document.masks)
    return [
        Fault(
            place=fault.place.removeprefix("privacy."),
            message=f"expected {fault.expected}, found {fault.found}",
        )
        for fault in find_faults(places)
    ]


def patch_of(camera: str, document: PlacesDocument) -> dict[str, object]:
    """Return the change of the configuration that gives a camera these places."""
    plain = parse_json(to_json(document), dict)
    masks = plain.pop("masks", [])
    whole = {kind: plain.get(kind, []) for kind in ("zones", "lines", "speeds")}
    return {"cameras": {camera: {**whole, "privacy": {"masks": masks}}}}


class PlaceDesk:
    """Answers for `/api/places`.

    Args:
        cameras: As they are configured for the whole life of the console.
        settings: Where changes go; None where nothing can be changed.
    """

    def __init__(self, cameras: Mapping[str, CameraConfig], settings: Settings | None) -> None:
        self._places = {name: document_of(camera) for name, camera in cameras.items()}
        self._settings = settings
        self.version = hashlib.sha256(to_json(self._places)).hexdigest()[:16]

    @property
    def standing(self) -> Standing | None:
        """What the page says of changes; None where nothing can be changed."""
        settings = self._settings
        return None if settings is None else Standing(trial=settings.on_trial, last=settings.last)

    async def show(self, _: Request) -> Response:
        """Answer with all cameras' places."""
        return json_answer({"cameras": self._places, "version": self.version})

    async def save(self, request: Request) -> Response:
        """Take one camera's places, or say everything that is wrong with them."""
        camera = request.path_params["camera"]
        if self._settings is None:
            return refusal(403, "settings", "zones cannot be changed here")
        if camera not in self._places:
            return no_camera(camera)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return refusal(415, "type", "expected application/json")
        body = await read_body(request, MAX_PLACES_BYTES)
        if isinstance(body, Response):
            return body
        document = _read(body)
        faults = document if isinstance(document, list) else faults_of(document)
        if isinstance(document, list) or faults:
            return _faulty(faults)
        return await run_in_threadpool(self._propose, self._settings, camera, document)

    @staticmethod
    def _propose(settings: Settings, camera: str, document: PlacesDocument) -> Response:
        at_ms = wall_ms()
        try:
            changed = settings.propose(patch_of(camera, document))
        except ConfigError as error:
            return _faulty([_fault_in(error.message)])
        except CommandError as error:
            return refusal(409, error.code, error.message)
        return json_answer({"changed": changed, "at_ms": at_ms}, 202 if changed else 200)


def _read(body: bytes) -> PlacesDocument | list[Fault]:
    try:
        return parse_json(body, PlacesDocument)
    except Malformed as error:
        place = error.place.removeprefix("$").removeprefix(".")
        return [Fault(place=place, message=error.problem)]


def _fault_in(message: str) -> Fault:
    found = _PLACE.search(message)
    return Fault(place=found[1], message=found[2]) if found else Fault(place="", message=message)


def _faulty(faults: list[Fault]) -> Response:
    first = faults[0]
    message = f"{first.place}: {first.message}" if first.place else first.message
    return json_answer({"code": "places", "message": message, "faults": faults}, 422)


def no_camera(name: str) -> Response:
    """Return the refusal of a camera that is not configured."""
    return refusal(404, "camera", f"there is no camera {name[:64]!r}")
