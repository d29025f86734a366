"""`vigil provision`: what `scripts/provision.sh` asks of the installed agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.config import DEFAULT_PATH

if TYPE_CHECKING:
    from agent.schema.config import Config

app = typer.Typer(
    name="provision",
    help="Steps of scripts/provision.sh: check an invitation, write cameras, the unit's drop-in, a summary.",
    no_args_is_help=True,
)
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]


@app.command()
def invitation(
    bundle: Annotated[Path, typer.Argument(help="Folder from `vigil fleet enrol-token`.")],
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Print the device that an invitation is for; refuse one for another device than this."""
    from agent.config import load_config
    from agent.errors import ConfigError
    from agent.fleet.bundle import read_terms

    terms = read_terms(bundle)
    if config.exists():
        own = load_config(config).device.id
        if own != terms.device:
            message = f"{bundle}: invites {terms.device}, but this device is {own}"
            hint = "to make it another device: provision.sh --uninstall --purge first"
            raise ConfigError(message, code="config.other_device", hint=hint)
    typer.echo(terms.device)


@app.command()
def cameras(
    file: Annotated[
        Path, typer.Argument(help="YAML list: name, source, and what else a camera has.")
    ],
    config: ConfigFile = DEFAULT_PATH,
) -> None:
    """Put the cameras of a file into the configuration, if the whole is then right."""
    import yaml

    from agent.config import load_config
    from agent.errors import ConfigError
    from agent.host.disk import REAL_DISK

    load_config(config)
    try:
        listed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: expected a YAML list of cameras: {error}") from error
    if isinstance(listed, dict) and list(listed) == ["cameras"]:
        listed = listed["cameras"]
    tree: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    text = yaml.safe_dump({**tree, "cameras": listed}, sort_keys=False)
    # Beside the file it replaces, so that relative paths mean the same.
    trial = config.with_name(f"{config.name}.trial")
    REAL_DISK.write_atomic(trial, text.encode())
    try:
        load_config(trial)
        REAL_DISK.rename(trial, config)
    except ConfigError as error:
        # The trial is gone when this is read: what is to be corrected is the list.
        message, hint = (text.replace(str(trial), str(file)) for text in (str(error), error.hint))
        raise ConfigError(message, code=error.code, hint=hint) from error
    finally:
        trial.unlink(missing_ok=True)


@app.command("drop-in")
def drop_in(config: ConfigFile = DEFAULT_PATH) -> None:
    """Print the drop-in that gives the service the devices this board and its key store need."""
    from agent.config import load_config
    from agent.host.board import read_facts
    from agent.host.service_access import drop_in, service_access
    from agent.models.profiles import examine, load_profiles
    from agent.schema.keystore import key_config

    loaded, facts = load_config(config), read_facts()
    named = loaded.profile
    if named == "auto":
        named = examine(facts, load_profiles()).profile.name
    typer.echo(drop_in(service_access(facts, key_config(loaded.key)), named))


@app.command()
def summary(config: ConfigFile = DEFAULT_PATH) -> None:
    """Print what this device is, where its page is, and what to do next."""
    from agent.config import load_config
    from agent.schema.keystore import key_config, store_name

    loaded = load_config(config)
    device, broker = loaded.device, loaded.broker
    rows = {
        "device": f"{device.id}, class {device.device_class}",
        "broker": f"{broker.host}:{broker.port}",
        "key": f"in the key store {store_name(key_config(loaded.key))}",
        "cameras": ", ".join(camera.name for camera in loaded.cameras) or "none",
        "page": page_address(loaded),
        "next": _next(loaded),
    }
    for name, text in rows.items():
        typer.echo(f"  {name:<9} {text}")


def page_address(config: Config) -> str:
    """Return where the local page is, as a browser on the device wants it."""
    console = config.console
    if not console.enabled:
        return "off"
    scheme = "https" if console.tls_cert else "http"
    return f"{scheme}://{console.host}:{console.port}/"


def _next(config: Config) -> str:
    if not config.cameras:
        return "add cameras to the configuration (or --cameras FILE) and run this again"
    return f"on the controller: vigil fleet deploy FLEET d/{config.device.id} RELEASE …; here: vigil status"
