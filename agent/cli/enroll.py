"""`vigil enroll`: on the device, join a fleet by a ticket or by a bundle folder."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.output import AsJson, mention, print_json
from agent.config import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

_STORE_HELP = "Where the key for models is made: auto, tpm2, pkcs11, credential or file."
_OPTION_HELP = "NAME=VALUE for the key store, for example pin_file=/etc/vigil/pin. Repeatable."

_TICKET_LIMIT = 4096  # bytes
_UNIT_NEEDS = {
    "credential": "LoadCredentialEncrypted=vigil-device-key (docs/security.md)",
    "pkcs11": "access to the token's device and PIN file (docs/security.md)",
    "tpm2": "SupplementaryGroups=tss and DeviceAllow=/dev/tpmrm0 rw (docs/security.md)",
}


def enroll(  # noqa: PLR0913, PLR0917 - one parameter for each option of the command line
    bundle: Annotated[
        Path | None, typer.Option(help="Folder from `vigil fleet enrol-token`.")
    ] = None,
    ticket: Annotated[
        Path | None,
        typer.Option(help="File with a ticket, or - for standard input; needs no bundle."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where keys and configuration go.")
    ] = DEFAULT_PATH.parent,
    key_store: Annotated[str, typer.Option(help=_STORE_HELP)] = "auto",
    key_option: Annotated[list[str] | None, typer.Option(help=_OPTION_HELP)] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the controller: the bundle is carried.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Join a fleet: at once where the controller can be reached, else by carrying the bundle to it and back.

    Run it again after a failure. Exit status 75: the controller cannot be reached now.
    """
    from agent.errors import InUseError, TransferError

    if (bundle is None) == (ticket is None):
        raise typer.BadParameter("give one of --bundle and --ticket")
    options = key_options(key_option or [])
    try:
        place = bundle or _fetch(str(ticket), folder)
        told = partial(mention, as_json=as_json)
        joined = _join(place, folder, (key_store, options), told, offline=offline)
    except TransferError as error:
        raise InUseError(error.message, code=error.code, hint=error.hint) from error
    if as_json:
        configuration = str(joined) if joined else None
        print_json({"bundle": str(place), "configuration": configuration})
    if joined and ticket is not None:
        shutil.rmtree(place)


def _fetch(ticket: str, folder: Path) -> Path:
    """Return the folder into which the ticket's bundle was fetched; one that was fetched before serves again."""
    from agent.fleet.bundle import INVITATION
    from agent.fleet.enrolment_client import fetch
    from agent.fleet.ticket import read_ticket
    from agent.host.disk import REAL_DISK

    text = sys.stdin.read() if ticket == "-" else REAL_DISK.read(Path(ticket), _TICKET_LIMIT)
    found = read_ticket(text if isinstance(text, str) else text.decode(errors="replace"))
    place = folder / "bundle"
    if not (place / INVITATION).exists():
        fetch(found, place)
    return place


def _join(
    bundle: Path,
    folder: Path,
    store: tuple[str, dict[str, str]],
    told: Callable[[str], None],
    *,
    offline: bool,
) -> Path | None:
    """Do what can be done now; return the configuration once the device has joined."""
    from agent.fleet.bundle import has_certificate
    from agent.fleet.enrolment_client import send_request
    from agent.fleet.joining import join, request
    from agent.schema.keystore import store_name
    from agent.trust.stores.choice import choose_store, read_facts

    if not has_certificate(bundle):
        key = choose_store(*store, read_facts())
        terms = request(bundle, folder, key=key)
        told(f"{terms.device}: its key for models lives in: {store_name(key)}")
        if store_name(key) in _UNIT_NEEDS:
            told(f"its service needs, in a drop-in: {_UNIT_NEEDS[store_name(key)]}")
        if offline or not terms.enrol_port:
            told(f"carry {bundle} to the controller, run `vigil fleet admit` there,")
            told("then bring it back and run this command again")
            return None
        send_request(bundle, terms)
    path = join(bundle, folder)
    told(f"{path}: ready; add the cameras and start the agent")
    return path


def key_options(given: list[str]) -> dict[str, str]:
    """Return options given as NAME=VALUE by their names."""
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise typer.BadParameter(f"expected NAME=VALUE, found {wrong[0]!r}")
    return {name: value for name, _, value in pairs}
