"""The fleet page's addresses, as one Starlette application. All only read.

| address | answer |
| --- | --- |
| `/` and the page's files | the page; one route each, so no path can reach another file |
| `/login`, `/logout` | form and its check; the way out |
| `/api/fleet` | sums over the fleet: conditions, groups, releases, agents, temperatures |
| `/api/devices?show=&release=&search=&sort=&page=` | one page of the table, and how many lines there are |
| `/api/device/<id>` | one device: record, last state and measurements, roll-outs, keys it asked for |
| `/api/rollouts` | the newest roll-outs, with how many devices are where in each wave |
| `/healthz` | 200 while the controller hears its broker, 503 otherwise |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.errors import VigilError
from agent.fleet.controller import Controller
from agent.fleet.fleet_view import SHOWN, SORTS, FleetView, Query, chosen, summary
from agent.fleet.kept import Kept
from agent.fleet.registry import Registry
from agent.fleet.rollout_plan import Wave
from agent.fleet.rollout_store import Rollout, RolloutStore
from agent.fleet.rollout_tally import Step
from agent.web.access import Access
from agent.web.answers import json_answer, number_in
from agent.web.application import page_application

ROLLOUTS_SHOWN = 20
GRANTS_SHOWN = 20


@dataclass(frozen=True)
class Sources:
    """Where the page's figures come from."""

    controller: Controller
    registry: Registry
    store: RolloutStore


def application(sources: Sources, view: FleetView, access: Access) -> Starlette:
    """Return the application; every request must still pass `agent.web.guard.Guard`."""
    answers = _Answers(sources, view, access)
    routes = [
        Route("/api/fleet", answers.fleet),
        Route("/api/devices", answers.devices),
        Route("/api/device/{device}", answers.device),
        Route("/api/rollouts", answers.rollouts),
        Route("/healthz", answers.health),
    ]
    return page_application(Path(__file__).with_name("page"), access, routes, _explain)


class _Answers:
    """Each runs in a thread of Starlette's pool: the database may take its time."""

    def __init__(self, sources: Sources, view: FleetView, access: Access) -> None:
        self._controller = sources.controller
        self._registry = sources.registry
        self._store = sources.store
        self._view = view
        self._access = access
        self._summary = Kept(lambda: summary(view.rows()))
        self._rollouts = Kept(self._read_rollouts)

    def fleet(self, request: Request) -> Response:
        told = {
            "connected": self._controller.connected,
            "may_log_out": request.state.role is not self._access.anonymous,
        }
        return json_answer({**self._summary.newest(), **told})

    def devices(self, request: Request) -> Response:
        asked = request.query_params
        query = Query(
            show=_one_of(request, "show", SHOWN, "all"),
            release=asked.get("release", ""),
            search=asked.get("search", "").strip(),
            sort=_one_of(request, "sort", SORTS.keys(), "id"),
            page=number_in(request, "page", 1),
        )
        return json_answer(chosen(self._view.rows(), query))

    def device(self, request: Request) -> Response:
        record = self._registry.device(request.path_params["device"])
        if record is None:
            raise HTTPException(404, "no device of this fleet has this name")
        return json_answer(
            {
                "row": self._view.row(record),
                "class": record.device_class,
                "enrolled_ms": record.enrolled_ms,
                "certificate": record.serial,
                "state": self._view.spoken(record.id),
                "telemetry": self._controller.inbox.telemetry(record.id),
                "rollouts": self._places(record.id),
                "grants": self._registry.grants(record.id, GRANTS_SHOWN),
            }
        )

    def rollouts(self, _: Request) -> Response:
        return json_answer(self._rollouts.newest())

    def health(self, _: Request) -> Response:
        if self._controller.connected:
            return json_answer({"status": "ok"})
        return json_answer({"status": "degraded", "reasons": ["broker.offline"]}, 503)

    def _newest(self) -> list[Rollout]:
        return self._store.rollouts()[: -ROLLOUTS_SHOWN - 1 : -1]

    def _read_rollouts(self) -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "release": one.plan.release,
                "standing": one.standing,
                "reason": one.reason,
                "started_ms": one.started_ms,
                "waves": self._waves(one),
            }
            for one in self._newest()
        ]

    def _waves(self, rollout: Rollout) -> list[dict[str, Any]]:
        counts = self._store.counts(rollout.name)
        return [
            {
                "name": _name(wave),
                "steps": {step.value: counts.get((number, step), 0) for step in Step},
            }
            for number, wave in enumerate(rollout.plan.waves)
        ]

    def _places(self, device: str) -> list[dict[str, Any]]:
        names = [one.name for one in self._newest()]
        rank = {name: number for number, name in enumerate(names)}
        places = self._store.places(device, names)
        return sorted(places, key=lambda place: rank[place["rollout"]])


def _name(wave: Wave) -> str:
    return f"group {wave.group}" if wave.group else f"{wave.percent} %"


def _one_of(request: Request, name: str, known: Collection[str], standard: str) -> str:
    value = request.query_params.get(name, standard)
    if value not in known:
        raise HTTPException(400, f"expected one of {', '.join(sorted(known))} in ?{name}=")
    return value


def _explain(_: VigilError) -> str:
    return "the controller cannot read its own records; see its log"
