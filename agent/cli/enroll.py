"""`vigil enroll`: on the device, join a fleet by exchanging a bundle folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.config import DEFAULT_PATH

_STORE_HELP = "Where the key for models is made: auto, tpm2, pkcs11, credential or file."
_OPTION_HELP = "NAME=VALUE for the key store, for example pin_file=/etc/vigil/pin. Repeatable."

_UNIT_NEEDS = {
    "credential": "LoadCredentialEncrypted=vigil-device-key (docs/security.md)",
    "pkcs11": "access to the token's device and PIN file (docs/security.md)",
    "tpm2": "SupplementaryGroups=tss and DeviceAllow=/dev/tpmrm0 rw (docs/security.md)",
}


def enroll(
    bundle: Annotated[Path, typer.Option(help="Folder from `vigil fleet enrol-token`.")],
    folder: Annotated[
        Path, typer.Option(help="Where keys and configuration go.")
    ] = DEFAULT_PATH.parent,
    key_store: Annotated[str, typer.Option(help=_STORE_HELP)] = "auto",
    key_option: Annotated[list[str] | None, typer.Option(help=_OPTION_HELP)] = None,
) -> None:
    """Join a fleet: run it once to add the request to the bundle, once more after it was admitted."""
    from agent.fleet.enrolment import has_certificate, join, request
    from agent.schema.keystore import store_name
    from agent.trust.stores.choice import choose_store, read_facts

    if has_certificate(bundle):
        path = join(bundle, folder)
        typer.echo(f"{path}: ready; add the cameras and start the agent")
    else:
        key = choose_store(key_store, _options(key_option or []), read_facts())
        terms = request(bundle, folder, key=key)
        typer.echo(f"{terms.device}: its key for models lives in: {store_name(key)}")
        if store_name(key) in _UNIT_NEEDS:
            typer.echo(f"its service needs, in a drop-in: {_UNIT_NEEDS[store_name(key)]}")
        typer.echo(f"carry {bundle} to the controller, run `vigil fleet admit` there,")
        typer.echo("then bring it back and run this command again")


def _options(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [name for name, equals, _ in pairs if not equals or not name]
    if wrong:
        raise typer.BadParameter(f"expected NAME=VALUE, found {wrong[0]!r}")
    return {name: value for name, _, value in pairs}
