"""The repository: a folder of static files that every device verifies for itself.

```
<folder>/public/metadata/  <n>.root.json, <n>.targets.json, <n>.<class>.json, …, timestamp.json
<folder>/public/targets/   models/<class>/<name>/<version>/<sha256>.<file>, policy/<sha256>.commands.json
<folder>/staged/           documents being approved (files to carry between machines) and their targets
```
Changes are staged unsigned, approved by as many people as the role asks for, then published: files first,
`timestamp.json` last, so that a device sees the old or the new repository and never a mixture. Only
`publish` and `refresh` need the online keys, and they need no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, TargetFile, Targets

from agent.errors import PackageError
from agent.host.disk import REAL_DISK, Disk
from agent.release import documents, online
from agent.release.agent_release import agent_targets
from agent.release.charter import (
    POLICY,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Charter,
    delegate_agent,
    lifetime,
    new_delegated,
    new_root,
    new_targets,
)
from agent.release.listing import reference, refuse_old, release_targets, target_of
from agent.release.review import Review, review
from agent.release.shelf import Shelf, kind_of
from agent.schema.agent_release import AGENT_ROLE, UpdateAgentArgs, manifest_path
from agent.schema.document import to_json
from agent.schema.manifest import MANIFEST_FILE, ReleaseRef
from agent.schema.messages import Policy
from agent.trust.policy import check_policy

POLICY_PATH = "policy/commands.json"

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time to the second, as TUF writes it."""
    return datetime.now(timezone.utc).replace(microsecond=0)


class Repository:
    """A repository in `folder`.

    Args:
        folder: Root of the public and the staged files.
        now: Clock, timezone-aware.
        disk: Where to write.
    """

    def __init__(self, folder: Path, now: Clock = utc_now, disk: Disk = REAL_DISK) -> None:
        self._shelf = Shelf(folder, disk)
        self.public = self._shelf.public
        self.staged = self._shelf.staged
        self._now = now
        self._disk = disk

    @classmethod
    def create(
        cls, folder: Path, charter: Charter, now: Clock = utc_now, disk: Disk = REAL_DISK
    ) -> Repository:
        """Stage the first root, targets and delegated documents, to be approved and published.

        Raises:
            PackageError: `folder` has a repository already.
            TrustError: A role lists one public key twice.
        """
        repository = cls(folder, now, disk)
        shelf = repository._shelf
        shelf.make()
        shelf.stage(ROOT, new_root(charter, now()))
        shelf.stage(TARGETS, new_targets(charter, now()))
        for role in (*charter.classes, POLICY):
            shelf.stage(role, new_delegated(role, now()))
        return repository

    # staging ---------------------------------------------------------------------------------------

    def add_release(self, folder: Path) -> ReleaseRef:
        """Stage the release in `folder`, as `agent.release.build` made it, for its device class.

        Returns:
            What a `deploy` command must name once the release is published.

        Raises:
            PackageError: Not as its manifest says, published before, or its counter does not rise.
            TrustError: The repository has no such device class.
        """
        manifest, files = release_targets(folder, self._disk)
        role = manifest.device_class
        draft = self._draft(role)
        custom = {
            "release": manifest.release_id,
            "class": role,
            "release_counter": manifest.release_counter,
        }
        refuse_old(draft.signed, custom)
        for path, data in files.items():
            self._add_target(draft, target_of(path, data, custom), data)
        self._shelf.stage(role, draft)
        return reference(draft.signed.targets[f"models/{manifest.release_id}/{MANIFEST_FILE}"])

    def add_agent(self, folder: Path) -> UpdateAgentArgs:
        """Stage the agent release in `folder`, as `agent.release.agent_release` made it.

        The first one also stages `targets` with the new role, which must be approved, too.

        Returns:
            What an `update-agent` command must name once it is published.

        Raises:
            PackageError: Not as its manifest says, or published before.
        """
        manifest, files = agent_targets(folder, self._disk)
        targets = self._draft(TARGETS)
        if delegate_agent(targets.signed):
            self._shelf.stage(TARGETS, targets)
            self._shelf.stage(AGENT_ROLE, new_delegated(AGENT_ROLE, self._now()))
        draft, path = self._draft(AGENT_ROLE), manifest_path(manifest.version)
        if path in draft.signed.targets:
            message = f"agent {manifest.version}: this version is published already"
            raise PackageError(message, code="package.published", hint="give it a new version")
        for name, data in files.items():
            self._add_target(draft, target_of(name, data, {"agent": manifest.version}), data)
        self._shelf.stage(AGENT_ROLE, draft)
        return UpdateAgentArgs(agent=path, sha256=draft.signed.targets[path].hashes["sha256"])

    def set_policy(self, policy: Policy) -> None:
        """Stage the policy that says who may command what.

        Raises:
            PackageError: Its version does not rise.
            TrustError: Devices would refuse it.
        """
        check_policy(policy)
        draft = self._draft(POLICY)
        listed = draft.signed.targets.get(POLICY_PATH)
        before = -1 if listed is None else listed.custom["policy_ver"]
        if policy.version <= before:
            message = f"policy: expected a version above {before}, found {policy.version}"
            raise PackageError(message, code="package.counter")
        data = to_json(policy)
        custom = {"policy_ver": policy.version}
        self._add_target(draft, target_of(POLICY_PATH, data, custom), data)
        self._shelf.stage(POLICY, draft)

    def amend(self, role: str, change: Callable[[Any], object]) -> None:
        """Stage a next version of `role` whose signed part was changed by `change`."""
        draft = self._draft(role)
        change(draft.signed)
        self._shelf.stage(role, draft)

    def renew(self, role: str) -> None:
        """Stage `role`, which people sign for, unchanged with a later expiry."""
        self._shelf.require_role(role)
        self.amend(role, lambda _: None)

    # approving -------------------------------------------------------------------------------------

    def review(self, role: str) -> Review:
        """Return what an approval of the staged document of `role` agrees to, see `agent.release.review`."""
        shelf = self._shelf
        return review(role, shelf.read_staged(role), shelf.before(role), shelf.target_reader(role))

    def approve(self, role: str, signers: Sequence[Signer]) -> list[str]:
        """Add approvals to the staged document of `role`.

        Returns:
            The new releases that were also signed for OpenSSF's model-signing.

        Raises:
            TrustError: Nothing is staged for it, or a signer has no say in it.
        """
        shelf, document = self._shelf, self._shelf.read_staged(role)
        before, delegator = shelf.before(role), shelf.delegator(role)
        signed = documents.approve(role, document, signers, delegator, before)
        shelf.stage(role, document)
        return signed

    def collect(self, role: str, carried: bytes) -> None:
        """Take over approvals from a copy of the staged document that was signed on another machine.

        Raises:
            TrustError: The copy is no metadata, or not of the document staged here.
        """
        shelf, document = self._shelf, self._shelf.read_staged(role)
        copy = documents.read_document(carried, f"approved {role}", kind_of(role))
        documents.collect(role, document, copy, shelf.delegator(role))
        shelf.stage(role, document)

    def standings(self) -> list[documents.Standing]:
        """Return where every staged document stands."""
        return [
            documents.standing(role, self._shelf.read_staged(role), self._shelf.delegator(role))
            for role in self._shelf.staged_roles()
        ]

    # publishing ------------------------------------------------------------------------------------

    def publish(self, snapshot: Sequence[Signer], timestamp: Sequence[Signer]) -> list[str]:
        """Publish everything staged; devices see all of it or none. Snapshot and timestamp are renewed in any case.

        Args:
            snapshot: Online keys of the snapshot role.
            timestamp: Online keys of the timestamp role.

        Returns:
            The roles whose staged documents were published; empty where nothing was staged.

        Raises:
            TrustError: A document lacks approvals (`trust.threshold`) or the online keys are wrong; nothing was published.
        """
        shelf = self._shelf
        staged = {role: shelf.read_staged(role) for role in shelf.staged_roles()}
        for role, document in staged.items():
            documents.require_approvals(role, document, shelf.delegator(role))
        if ROOT in staged and staged[ROOT].signed.version > 1:
            documents.require_approvals(ROOT, staged[ROOT], shelf.published(ROOT).signed)
        root = shelf.current(ROOT).signed
        documents.require_say(SNAPSHOT, snapshot, root)
        documents.require_say(TIMESTAMP, timestamp, root)
        for role, document in staged.items():
            shelf.publish_targets(document)
            shelf.publish_document(role, document)
        self._online(snapshot, timestamp, renew_snapshot=True)
        shelf.clear_staged()
        return list(staged)

    def refresh(self, snapshot: Sequence[Signer], timestamp: Sequence[Signer]) -> None:
        """Give the repository a new timestamp, and a new snapshot when half of its life is over."""
        current = online.read_snapshot(self._shelf.metadata, self._disk)
        age_left = current.signed.expires - self._now()
        self._online(snapshot, timestamp, renew_snapshot=age_left < lifetime(SNAPSHOT) / 2)

    # reading ---------------------------------------------------------------------------------------

    @property
    def root_bytes(self) -> bytes:
        """The first published root: what a device is provisioned with."""
        return self._shelf.first_root()

    @property
    def timestamp_version(self) -> int:
        """Version of the published timestamp, for the hint."""
        return online.read_timestamp(self._shelf.metadata, self._disk).signed.version

    def releases(self, device_class: str) -> list[ReleaseRef]:
        """Return the published releases of a class by rising counter; none before anything is published."""
        if not self._shelf.latest_version(TARGETS):
            return []
        targets: Targets = self._shelf.published(device_class).signed
        found = [
            reference(target)
            for path, target in targets.targets.items()
            if path.endswith(f"/{MANIFEST_FILE}") and path.startswith("models/")
        ]
        return sorted(found, key=lambda ref: ref.counter)

    def roles(self, *, administered: bool = False) -> list[str]:
        """Return the device classes, or the other delegated roles: those of administrators."""
        roles = self._shelf.current(TARGETS).signed.delegations.roles
        return sorted(role for role in roles if (role in {POLICY, AGENT_ROLE}) == administered)

    # inside ----------------------------------------------------------------------------------------

    def _draft(self, role: str) -> Metadata[Any]:
        """Return an unsigned next version of `role`, continuing what is staged but not published."""
        document = self._shelf.current(role)
        version, expires = self._shelf.latest_version(role) + 1, self._now() + lifetime(role)
        documents.begin_anew(document, version, expires)
        return document

    def _add_target(self, draft: Metadata[Any], target: TargetFile, data: bytes) -> None:
        self._shelf.stage_target(target, data)
        draft.signed.targets[target.path] = target

    def _online(
        self, snapshot: Sequence[Signer], timestamp: Sequence[Signer], *, renew_snapshot: bool
    ) -> None:
        folder, root = self._shelf.metadata, self._shelf.published(ROOT).signed
        if renew_snapshot:
            online.write_snapshot(folder, root, snapshot, self._now(), self._disk)
        online.write_timestamp(folder, root, timestamp, self._now(), self._disk)
