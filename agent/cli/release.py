"""`vigil release`: on the workstation, from models to a published repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.baseline import baseline
from agent.cli.build import build, recipe_schema
from agent.cli.gate import gate
from agent.cli.golden import golden
from agent.cli.obfuscate import obfuscate
from agent.cli.optimise import distil, prune, qat
from agent.cli.output import AsJson, mention, tell
from agent.cli.quantise import quantise
from agent.cli.release_tables import (
    open_repository,
    published,
    show_published,
    show_review,
    tell_staged,
)
from agent.cli.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

    from agent.release.repository import Repository

app = typer.Typer(
    name="release", help="Seal, sign and publish models (workstation).", no_args_is_help=True
)

PEOPLE = "people"  # a folder of keys, too: they sign commands
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
app.command("qat")(qat)
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
            help="Make it in a PKCS#11 token: module=…, token=…, key=LABEL, and pin_file=… "
            "unless you are to be asked for the PIN; repeatable.",
        ),
    ] = None,
    p256: Annotated[
        bool,
        typer.Option("--p256", help="ECDSA on P-256, which OpenSSF's model-signing can verify."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a person's key pair for a role, in a file or in a token that it never leaves."""
    from agent.release.replacement import ROLES
    from agent.release.signers import generate, generate_in_token

    if role not in {*ROLES, PEOPLE}:
        raise typer.BadParameter(
            f"expected one of {', '.join((*ROLES, PEOPLE))}", param_hint="ROLE"
        )
    if token is None:
        signer: Signer = generate(keys / role, name, p256=p256)
    else:
        from agent.cli.enroll import key_options
        from agent.schema.keystore import located
        from agent.trust.stores.choice import signer_token

        config = signer_token({"key": f"{role}-{name}", **key_options(token)})
        signer = generate_in_token(keys / role, name, located(config, Path.cwd()))
    private, public = f"{keys / role / name}.key", f"{keys / role / name}.pub"
    key_id = signer.public_key.keyid
    tell(
        {"private": private, "public": public, "key_id": key_id},
        f"{private}  keep it private",
        f"{public}  key id {key_id[:12]}",
        as_json=as_json,
    )


@app.command()
def init(
    repository: RepositoryFolder,
    device_class: Annotated[list[str], typer.Option("--class", help="A device class; repeatable.")],
    keys: KeysFolder = Path("keys"),
    threshold: Annotated[int, typer.Option(help="People who must sign for offline roles.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Stage a new repository from everybody's public keys; approve and publish it next."""
    from agent.release.charter import charter_from_keys
    from agent.release.repository import Repository

    charter = charter_from_keys(keys, tuple(device_class), threshold)
    tell_staged(Repository.create(repository, charter), as_json=as_json)


@app.command()
def stage(
    repository: RepositoryFolder,
    release: Annotated[Path | None, typer.Option(help="Folder that build made.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Command policy (YAML).")] = None,
    renew: Annotated[str, typer.Option(help="A role whose document shall live longer.")] = "",
    as_json: AsJson = False,
) -> None:
    """Stage a release, a policy or a renewal, to be approved."""
    from agent.release.policy_file import load_policy

    if release is None and policy is None and not renew:
        message = "expected at least one, found none"
        raise typer.BadParameter(message, param_hint="--release, --policy, --renew")
    opened, lines, facts = open_repository(repository), [], {}
    if release is not None:
        ref = opened.add_release(release)
        lines.append(f"{ref.label}: {ref.path} sha256 {ref.sha256}")
        facts = {"manifest": ref.path, "sha256": ref.sha256}
    if policy is not None:
        opened.set_policy(load_policy(policy))
    if renew:
        opened.renew(renew)
    tell_staged(opened, *lines, as_json=as_json, **facts)


@app.command("replace-key")
def replace_key(
    repository: RepositoryFolder,
    role: Annotated[
        str, typer.Argument(help="root, targets, release, policy, snapshot or timestamp.")
    ],
    old: Annotated[Path, typer.Option(help="Public key that was lost or stolen.")],
    new: Annotated[Path, typer.Option(help="Public key that takes its place.")],
    as_json: AsJson = False,
) -> None:
    """Stage what makes another key count in place of a lost or stolen one; approve and publish it next."""
    from agent.release.replacement import replace_key as exchange
    from agent.release.signers import load_public

    opened = open_repository(repository)
    exchange(opened, role, load_public(old), load_public(new))
    tell_staged(opened, as_json=as_json)


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
    as_json: AsJson = False,
) -> None:
    """Bundle a version of the agent from its wheels and stage it; approve `agent` next."""
    from agent.release.agent_release import build_agent_release

    places = dict(_place(one) for one in wheels)
    opened = open_repository(repository)
    manifest = build_agent_release(out, places, min_agent)
    asked = opened.add_agent(out)
    line = f"agent {manifest.version}: {asked.agent} sha256 {asked.sha256}"
    tell_staged(opened, line, as_json=as_json, manifest=asked.agent, sha256=asked.sha256)


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
    as_json: AsJson = False,
) -> None:
    """Approve a staged document with your key, or take over approvals from a carried copy.

    What you would sign is shown first; at a terminal you are asked.
    """
    from agent.host.disk import REAL_DISK
    from agent.release.shelf import DOCUMENT_LIMIT
    from agent.release.signers import load_signer

    if not key and carried is None:
        raise typer.BadParameter("give --key FILE, or --carried FILE")
    opened = open_repository(repository)
    if carried is not None:
        opened.collect(role, REAL_DISK.read(carried, DOCUMENT_LIMIT))
    if key:
        signers = [load_signer(path) for path in key]
        show_review(opened.review(role), as_json=as_json)
        if sys.stdin.isatty() and not yes:
            typer.confirm("Sign this?", abort=True, err=as_json)
        for release in opened.approve(role, signers):
            mention(f"{release}: signed for OpenSSF's model-signing, too", as_json=as_json)
    tell_staged(opened, as_json=as_json)


@app.command()
def publish(
    repository: RepositoryFolder, keys: KeysFolder = Path("keys"), as_json: AsJson = False
) -> None:
    """Publish everything staged, with the online keys."""
    signers = _online(keys)
    opened = open_repository(repository)
    roles = opened.publish(*signers)
    nothing = "nothing was staged, only snapshot and timestamp were renewed"
    done = "published" if roles else nothing
    _tell_timestamp(done, opened, as_json=as_json, published=roles)


@app.command()
def refresh(
    repository: RepositoryFolder, keys: KeysFolder = Path("keys"), as_json: AsJson = False
) -> None:
    """Renew timestamp and snapshot with the online keys; run it at least daily."""
    signers = _online(keys)
    opened = open_repository(repository)
    opened.refresh(*signers)
    _tell_timestamp("refreshed", opened, as_json=as_json)


@app.command()
def inspect(repository: RepositoryFolder, as_json: AsJson = False) -> None:
    """Show what is published and what waits for approval."""
    opened = open_repository(repository)
    releases = published(opened)
    if not as_json:
        show_published(releases)
        for standing in opened.standings():
            show_review(opened.review(standing.role), as_json=False)
    tell_staged(opened, as_json=as_json, releases=releases)


def _tell_timestamp(done: str, opened: Repository, *, as_json: bool, **facts: Any) -> None:
    version = opened.timestamp_version
    tell({"timestamp": version, **facts}, f"{done}; timestamp version {version}", as_json=as_json)


def _online(keys: Path) -> tuple[Sequence[Signer], Sequence[Signer]]:
    from agent.release.charter import SNAPSHOT, TIMESTAMP
    from agent.release.signers import load_signers

    return list(load_signers(keys / SNAPSHOT).values()), list(
        load_signers(keys / TIMESTAMP).values()
    )
