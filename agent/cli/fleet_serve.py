"""`vigil fleet serve`: the controller as a program."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from agent.fleet.controller import Controller
    from agent.fleet.enrolment import Site
    from agent.fleet.home import FleetHome

console = Console(highlight=False)
_DAY_S = 24 * 3600


def serve(
    home: Annotated[Path, typer.Argument(help="The controller's folder.")],
    embedded_broker: Annotated[
        bool, typer.Option(help="Run a broker in this process (loopback, no persistence).")
    ] = False,
    page_port: Annotated[
        int | None,
        typer.Option(
            help="Show the fleet on a web page on this port; 0 for a free one. More in fleet.yaml, section page.",
            min=0,
            max=65535,
        ),
    ] = None,
    instance: Annotated[
        int,
        typer.Option(
            help="Number of this controller, where several serve one broker: from 1, each another.",
            min=0,
        ),
    ] = 0,
) -> None:
    """Serve keys, blocks and certificates, let devices enrol, carry out roll-outs, show the fleet; until stopped."""
    from agent.fleet.access import CONTROLLER, instance_name
    from agent.fleet.home import open_home, place_of
    from agent.fleet.instance import alone_as

    logging.basicConfig(
        level="INFO", stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    place, name = place_of(home), instance_name(instance)
    with alone_as(name, home / CONTROLLER, place):
        _upgrade(place)
        opened = open_home(home)
        opened.appoint(name)
        _renew(opened)
        if embedded_broker:
            _start_broker(opened)
        # The embedded broker keeps no sessions; the broker would keep the part of a dead one for it, see Connection.
        session = None if embedded_broker or instance else opened.session(name)
        _run(opened, name, session, page_port)


def _run(opened: FleetHome, name: str, session: Path | None, page_port: int | None) -> None:
    """Serve under this name; those with a number share the requests."""
    from agent.fleet.access import CONTROLLER
    from agent.fleet.blocks import BlockServer
    from agent.fleet.controller import Controller, Services
    from agent.fleet.keys import KeyService
    from agent.fleet.renewal import RenewalService
    from agent.fleet.rollout_runner import carrying_out
    from agent.release.repository import Repository

    repository, registry = Repository(opened.repository), opened.registry
    renewals = RenewalService(registry, opened.authority, opened.life)
    services = Services(KeyService(registry), BlockServer(repository.public), renewals)
    broker, bulk = opened.broker(name), opened.bulk_broker(name)
    shared = name != CONTROLLER
    controllers = [Controller(broker, services, session=session, name=name, shared=shared)]
    if bulk is not None:
        controllers.append(Controller(bulk, services, name=name, shared=shared))
    with _showing(opened, controllers[0], page_port), carrying_out(opened.place, controllers[0]):
        for controller in controllers:
            controller.start()
            controller.hint(repository.timestamp_version)
        console.print(f"serving on {broker.host}:{broker.port}")
        with _enrolling(opened, shared=shared):
            _until_stopped(opened)
    for controller in controllers:
        controller.stop()


def site_of(opened: FleetHome) -> Site:
    """Return what the devices of a fleet are told."""
    from agent.fleet.enrolment import Site
    from agent.release.repository import Repository

    config = opened.config
    return Site(
        broker_host=config.broker_host,
        broker_port=config.broker_port,
        root=Repository(opened.repository).root_bytes,
        prefix=config.prefix,
        bulk_port=config.bulk_port,
        enrol_port=config.enrol_port,
    )


@contextlib.contextmanager
def _enrolling(opened: FleetHome, *, shared: bool) -> Iterator[None]:
    """Let devices enrol over HTTPS, where the fleet has a port for it, until the block ends; several may share the port."""
    from agent.fleet.access_keeper import AccessKeeper
    from agent.fleet.enrolment_service import EnrolmentService
    from agent.fleet.home import BROKER
    from agent.web.serving import WebServer

    config = opened.config
    if not config.enrol_port:
        yield
        return
    keeper, stop = AccessKeeper(opened), threading.Event()
    service = EnrolmentService(opened, site_of(opened), keeper.changed)
    own = opened.folder / BROKER
    tls = (str(own / f"{BROKER}.crt"), str(own / f"{BROKER}.key"))
    server = WebServer(
        service.application(),
        config.broker_host,
        config.enrol_port,
        tls,
        "enrolment",
        shared=shared,
    )
    thread = threading.Thread(target=keeper.run, args=(stop,), name="vigil-access")
    thread.start()
    console.print(f"devices enrol at https://{config.broker_host}:{server.port}/")
    try:
        yield
    finally:
        server.stop()
        stop.set()
        thread.join()


@contextlib.contextmanager
def _showing(opened: FleetHome, controller: Controller, port: int | None) -> Iterator[None]:
    """Show the fleet on a web page, where one is wanted, until the block ends."""
    from msgspec.structs import replace

    from agent.fleet.home import FleetPageConfig
    from agent.fleet.page import FleetPage
    from agent.fleet.page_routes import Sources
    from agent.fleet.rollout_store import RolloutStore

    config = opened.config.page
    if port is not None:
        config = replace(config or FleetPageConfig(), port=port)
    if config is None:
        yield
        return
    store = RolloutStore(opened.place)
    page = FleetPage(config, opened.folder, Sources(controller, opened.registry, store))
    try:
        page.start()
        console.print(f"the fleet's page: {page.url}")
        yield
    finally:
        page.stop()
        store.close()


def _upgrade(place: Path | str) -> None:
    logging.getLogger("alembic").setLevel("WARNING")  # it tells of all that it loads
    from agent.fleet.database_upgrade import upgrade
    from agent.fleet.tables import SCHEMA

    done = upgrade(place)
    if done.outdated:
        copy = f"; as it was: {done.backup}" if done.backup else ""
        console.print(f"database: upgraded from {done.found} to {SCHEMA}{copy}")


def _start_broker(opened: FleetHome) -> None:
    from agent.fleet.access import CONTROLLER
    from agent.fleet.broker import EmbeddedBroker
    from agent.fleet.home import BROKER, members_of

    config = opened.broker(CONTROLLER)
    members = members_of(opened.registry)
    folder = opened.folder / BROKER
    EmbeddedBroker(folder, opened.authority, members, config.prefix, config.port).start()


def _renew(opened: FleetHome) -> None:
    from datetime import datetime, timezone

    from agent.fleet.own_certificates import renew_own

    for name in renew_own(opened, datetime.now(timezone.utc)):
        console.print(f"{name}: has a new certificate")


def _until_stopped(opened: FleetHome) -> None:
    from agent.host.ending import Ending

    ending = Ending()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.ask())
    while not ending.wait(_DAY_S):
        _renew(opened)
