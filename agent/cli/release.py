"""`vigil release`: on the workstation, from models to a published repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli.baseline import baseline
from agent.cli.build import build, recipe_schema
from agent.cli.gate import gate
from agent.cli.golden import golden
from agent.cli.obfuscate import obfuscate
from agent.cli.optimise import distil, prune
from agent.cli.quantise import quantise
from agent.cli.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

    from agent.release.repository import Repository
    from agent.release.review import Review

app = typer.Typer(
    name="release", help="Seal, sign and publish models (workstation).", no_args_is_help=True
)
console = Console(highlight=False)

RepositoryFolder = Annotated[Path, typer.Argument(help="Folder of the repository.")]
KeysFolder = Annotated[Path, typer.Option("--keys", help="Folder with a key folder per role.")]
RoleName = Annotated[str, typer.Argument(help="root, targets, policy, agent or a device class.")]

app.command("golden")(golden)
app.command("baseline")(baseline)
app.command("gate")(gate)
app.command("build")(build)
app.command("schema")(recipe_schema)
app.command("obfuscate")(obfuscate)
app.command("prune")(prune)
app.command("distil")(distil)
app.command("quantise")(quantise)
app.command("verify")(verify)


@app.command()
def keygen(
    role: Annotated[
        str,
        typer.Argument(
            help="root, targets, release, policy, snapshot or timestamp; people for commands."
        ),
    ],
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    keys: KeysFolder = Path("keys"),
    token: Annotated[
        list[str] | None,
        typer.Option(
            "--token",
            help="Make it in a PKCS#11 token: module=…, token=…, pin_file=…, key=LABEL; repeatable.",
        ),
    ] = None,
) -> None:
    """Make a person's key pair for a role, in a file or in a token that it never leaves."""
    from agent.cli.enroll import key_options
    from agent.release.signers import generate, generate_in_token
    from agent.schema.keystore import located
    from agent.trust.stores.choice import signer_token

    if token is None:
        signer: Signer = generate(keys / role, name)
    else:
        config = signer_token({"key": f"{role}-{name}", **key_options(token)})
        signer = generate_in_token(keys / role, name, located(config, Path.cwd()))
    console.print(f"{keys / role / name}.key  keep it private")
    console.print(f"{keys / role / name}.pub  key id {signer.public_key.keyid[:12]}")


@app.command()
def init(
    repository: RepositoryFolder,
    device_class: Annotated[list[str], typer.Option("--class", help="A device class; repeatable.")],
    keys: KeysFolder = Path("keys"),
    threshold: Annotated[int, typer.Option(help="People who must sign for offline roles.")] = 2,
) -> None:
    """Stage a new repository from everybody's public keys; approve and publish it next."""
    from agent.release.charter import charter_from_keys
    from agent.release.repository import Repository

    charter = charter_from_keys(keys, tuple(device_class), threshold)
    _show_staged(Repository.create(repository, charter))


@app.command()
def stage(
    repository: RepositoryFolder,
    release: Annotated[Path | None, typer.Option(help="Folder that build made.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Command policy (YAML).")] = None,
    renew: Annotated[str, typer.Option(help="A role whose document shall live longer.")] = "",
) -> None:
    """Stage a release, a policy or a renewal, to be approved."""
    from agent.release.policy_file import load_policy
    from agent.release.repository import Repository

    opened = Repository(repository)
    if release is not None:
        ref = opened.add_release(release)
        console.print(f"{ref.label}: {ref.path} sha256 {ref.sha256}")
    if policy is not None:
        opened.set_policy(load_policy(policy))
    if renew:
        opened.renew(renew)
    _show_staged(opened)


@app.command("replace-key")
def replace_key(
    repository: RepositoryFolder,
    role: Annotated[
        str, typer.Argument(help="root, targets, release, policy, snapshot or timestamp.")
    ],
    old: Annotated[Path, typer.Option(help="Public key that was lost or stolen.")],
    new: Annotated[Path, typer.Option(help="Public key that takes its place.")],
) -> None:
    """Stage what makes another key count in place of a lost or stolen one; approve and publish it next."""
    from agent.release.replacement import replace_key as exchange
    from agent.release.repository import Repository
    from agent.release.signers import load_public

    opened = Repository(repository)
    exchange(opened, role, load_public(old), load_public(new))
    _show_staged(opened)


@app.command()
def agent(
    repository: RepositoryFolder,
    wheels: Annotated[
        list[str],
        typer.Option(help="Wheels of the agent and all it needs: 3.11-aarch64=FOLDER; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    min_agent: Annotated[
        str, typer.Option(help="Oldest version that may be updated to it in one step.")
    ] = "0",
) -> None:
    """Bundle a version of the agent from its wheels and stage it; approve `agent` next."""
    from agent.release.agent_release import build_agent_release
    from agent.release.repository import Repository

    places = dict(_place(one) for one in wheels)
    manifest = build_agent_release(out, places, min_agent)
    opened = Repository(repository)
    asked = opened.add_agent(out)
    console.print(f"agent {manifest.version}: {asked.agent} sha256 {asked.sha256}")
    _show_staged(opened)


def _place(option: str) -> tuple[str, Path]:
    place, equals, folder = option.partition("=")
    if not equals:
        raise typer.BadParameter("expected <python>-<machine>=FOLDER", param_hint="--wheels")
    return place, Path(folder)


@app.command()
def approve(
    repository: RepositoryFolder,
    role: RoleName,
    key: Annotated[list[Path], typer.Option("--key", help="Your private key; repeatable.")] = [],  # noqa: B006
    carried: Annotated[
        Path | None, typer.Option(help="Copy of the staged document, approved elsewhere.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without being asked.")] = False,
) -> None:
    """Approve a staged document with your key, or take over approvals from a carried copy.

    What you would sign is shown first; at a terminal you are asked.
    """
    from agent.host.disk import REAL_DISK
    from agent.release.repository import Repository
    from agent.release.shelf import DOCUMENT_LIMIT
    from agent.release.signers import load_signer

    opened = Repository(repository)
    if carried is not None:
        opened.collect(role, REAL_DISK.read(carried, DOCUMENT_LIMIT))
    if key:
        _show_review(opened.review(role))
        if sys.stdin.isatty() and not yes:
            typer.confirm("Sign this?", abort=True)
        opened.approve(role, [load_signer(path) for path in key])
    _show_staged(opened)


@app.command()
def publish(repository: RepositoryFolder, keys: KeysFolder = Path("keys")) -> None:
    """Publish everything staged, with the online keys."""
    from agent.release.repository import Repository

    opened = Repository(repository)
    opened.publish(*_online(keys))
    console.print(f"published; timestamp version {opened.timestamp_version}")


@app.command()
def refresh(repository: RepositoryFolder, keys: KeysFolder = Path("keys")) -> None:
    """Renew timestamp and snapshot with the online keys; run it at least daily."""
    from agent.release.repository import Repository

    opened = Repository(repository)
    opened.refresh(*_online(keys))
    console.print(f"refreshed; timestamp version {opened.timestamp_version}")


@app.command()
def inspect(repository: RepositoryFolder) -> None:
    """Show what is published and what waits for approval."""
    from agent.release.charter import POLICY
    from agent.release.repository import Repository
    from agent.schema.agent_release import AGENT_ROLE

    opened = Repository(repository)
    table = Table("class", "release", "counter", "manifest", "sha256")
    for role in opened.roles():
        if role not in {POLICY, AGENT_ROLE}:
            for ref in opened.releases(role):
                table.add_row(role, ref.label, str(ref.counter), ref.path, ref.sha256)
    console.print(table)
    for standing in opened.standings():
        _show_review(opened.review(standing.role))
    _show_staged(opened)


def _online(keys: Path) -> tuple[Sequence[Signer], Sequence[Signer]]:
    from agent.release.charter import SNAPSHOT, TIMESTAMP
    from agent.release.signers import load_signers

    return list(load_signers(keys / SNAPSHOT).values()), list(
        load_signers(keys / TIMESTAMP).values()
    )


def _show_review(found: Review) -> None:
    """Show what an approval agrees to; unwrapped, so that two people can compare and search."""
    lines = [
        f"{found.role} version {found.version}, until {found.expires:%Y-%m-%d}, digest {found.sha256}",
        *(f"  {change}" for change in found.changes),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _show_staged(repository: Repository) -> None:
    standings = repository.standings()
    if not standings:
        console.print("nothing is staged")
        return
    table = Table("staged", "version", "approvals", "expires")
    for standing in standings:
        approvals = f"{len(standing.signed)} of {standing.threshold}"
        table.add_row(
            standing.role, str(standing.version), approvals, f"{standing.expires:%Y-%m-%d}"
        )
    console.print(table)
