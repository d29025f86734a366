"""Commands that go from person to person as a file: made, read, approved; attachments put together again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.control.attachments import attach
from agent.errors import CommandError, KeyUnavailableError, TransferError, TrustError
from agent.fleet.attachments import put_together
from agent.release.signers import generate
from agent.schema.messages import Policy, PolicyRule, PolicyUser, Role
from agent.trust.policy import Authorised, Situation, authorise

Vigil = Callable[..., str]
MADE = "fleet sign d/cam-1 restart --as ann --key people/ann.key --out order.json --counters counters.json"


@pytest.fixture
def vigil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vigil:
    """Run `vigil …` in a fresh folder where ann and ben have keys; faults fly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(line: str, answer: str = "") -> str:
        result = CliRunner().invoke(app, line.split(), input=answer)
        if result.exception is not None:
            raise result.exception
        return result.output

    for name in ("ann", "ben"):
        generate(Path("people"), name)
    return run


def judged(file: str = "order.json") -> Authorised:
    """What a device says to it that wants two administrators."""
    users = [
        PolicyUser(name=name, role=Role.ADMIN, keys=[Path(f"people/{name}.pub").read_text()])
        for name in ("ann", "ben")
    ]
    rules = {"restart": PolicyRule(role=Role.ADMIN, approvals=2)}
    body = json.loads(base64.b64decode(json.loads(Path(file).read_text())["payload"]))
    situation = Situation(
        device="cam-1",
        groups=frozenset(),
        now_s=body["iat"],
        last_counter=lambda _: 0,
        seen=lambda _: False,
    )
    policy = Policy(schema=1, version=1, users=users, commands=rules)
    return authorise(Path(file).read_bytes(), policy, situation)


def test_a_command_is_made_by_one_approved_by_another_and_only_then_obeyed(vigil: Vigil) -> None:
    vigil(MADE)
    with pytest.raises(TrustError) as alone:
        judged()
    assert alone.value.code == "trust.approvals"
    shown = vigil("fleet approve order.json --key people/ben.key", "y\n")
    assert "restart {}" in shown
    assert "for d/cam-1, issued by ann" in shown
    assert judged().approvers == ("ann", "ben")


def test_one_person_who_approves_twice_is_one_person(vigil: Vigil) -> None:
    vigil(MADE)
    vigil("fleet approve order.json --key people/ann.key --yes")
    with pytest.raises(TrustError) as caught:
        judged()
    assert caught.value.code == "trust.approvals"


def test_who_says_no_signs_nothing(vigil: Vigil) -> None:
    vigil(MADE)
    before = Path("order.json").read_bytes()
    with pytest.raises(SystemExit):
        vigil("fleet approve order.json --key people/ben.key", "n\n")
    assert Path("order.json").read_bytes() == before


def test_what_cannot_be_read_is_said_and_changes_nothing(vigil: Vigil) -> None:
    Path("order.json").write_text("{}")
    with pytest.raises(TrustError):
        vigil("fleet approve order.json --key people/ben.key --yes")
    vigil(MADE)
    with pytest.raises(KeyUnavailableError):
        vigil("fleet approve order.json --key people/nobody.key --yes")
    with pytest.raises(CommandError, match="command"):
        vigil(MADE.replace("restart", "RESTART"))


@pytest.mark.parametrize("size", [0, 1, 3000, 100_000])
def test_a_file_in_parts_is_put_together_and_each_part_fits(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    parts = attach("a.tar.gz", data[:size], 8192)
    assert all(len(json.dumps(part)) < 8192 for part in parts)
    assert put_together(parts[::-1]) == ("a.tar.gz", data[:size])


def test_a_part_that_is_missing_changed_or_nonsense_is_noticed() -> None:
    parts = attach("a", bytes(20_000), 8192)
    changed = [{**parts[0], "base64": parts[1]["base64"]}, *parts[1:-1]]
    for bad in (parts[:-1], changed, [{"name": "a"}], [{**parts[0], "base64": "§"}]):
        with pytest.raises(TransferError):
            put_together(bad)


def test_a_name_from_a_device_leads_nowhere_else() -> None:
    (part,) = attach("../../etc/passwd", b"x", 8192)
    assert put_together([part])[0] == "passwd"
