"""The commands of docs/rollouts.md, as they stand there, and what people do wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent.errors import CommandError, ConfigError
from agent.fleet.home import open_home
from agent.fleet.registry import DeviceRecord
from tests.fleet.workshop import Vigil

GUIDE = (Path(__file__).parents[2] / "docs/rollouts.md").read_text()
START = "fleet rollout start controller plan.yaml"
SIGN = "fleet rollout sign controller plan.yaml --as ada --key keys/people/ada.key"


@pytest.fixture
def plan(vigil: Vigil, repo: Path) -> Path:
    """A fleet of six with the guide's plan; one device is revoked, one of another class."""
    vigil("fleet init controller --repository repo --host localhost --port 1")
    registry = open_home(Path("controller")).registry
    for number in range(6):
        groups = ("canary",) if number == 0 else ()
        registry.put_device(DeviceRecord(f"cam-{number}", "gate", groups, b"", "0"))
    registry.put_device(DeviceRecord("yard-1", "yard", (), b"", "0"))
    registry.put_device(DeviceRecord("lost-1", "gate", (), b"", "0", revoked=True))
    registry.close()
    path = Path("plan.yaml")
    path.write_text(block("yaml"))
    return path


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_guide_can_be_followed(
    vigil: Vigil, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    said = [vigil(line.removeprefix("vigil ")) for line in block("sh").splitlines()]
    assert "halt" in said[0]
    assert "6 commands signed" in said[1]
    assert "for d/cam-3, issued by ada" in said[2]
    assert "begun for 6 devices, 6 commands at hand" in said[3]
    assert "cam-5" in said[4]
    assert "lost-1" not in said[4]
    assert [text.split()[-1] for text in (said[5], said[6], said[9])] == [
        "paused",
        "running",
        "aborted",
    ]
    told = json.loads(said[7])
    assert (told["standing"], len(told["devices"])) == ("running", 6)
    assert told["devices"][0] == {"device": "cam-0", "wave": 1, "step": "waiting", "code": ""}
    with pytest.raises(CommandError, match="aborted cannot resume") as refused:
        vigil("fleet rollout resume controller people-1")
    assert "another name" in refused.value.hint


def test_waves_can_be_signed_one_after_the_other(vigil: Vigil, plan: Path) -> None:
    vigil(f"{SIGN} --out first --wave 1 --counters c.json")
    assert [path.name for path in Path("first").iterdir()] == ["cam-0.command"]
    started = vigil("fleet rollout start controller plan.yaml --commands first")
    assert "begun for 6 devices, 1 command at hand" in started
    vigil(f"{SIGN} --out second --wave 2 --counters c.json")
    added = vigil("fleet rollout add controller people-1 --commands second")
    assert re.search(r"people-1: new commands for [23] devices", added)
    with pytest.raises(ConfigError, match="one of this name"):
        vigil("fleet rollout start controller plan.yaml --commands first")
    with pytest.raises(ConfigError, match="commands are there already"):
        vigil(f"{SIGN} --out first --counters c.json")


def test_what_devices_would_refuse_is_not_begun(vigil: Vigil, plan: Path) -> None:
    policy = Path("draft/policy.yaml")
    policy.write_text(
        policy.read_text()
        .replace("approvals: 1", "approvals: 2")
        .replace("version: 1", "version: 2")
    )
    vigil("release stage repo --policy draft/policy.yaml")
    vigil("release approve repo policy --key keys/policy/ada.key --key keys/policy/grace.key")
    vigil("release publish repo")
    vigil(f"{SIGN} --out commands --counters c.json")
    with pytest.raises(ConfigError, match="every device would refuse it") as refused:
        vigil(f"{START} --commands commands")
    assert refused.value.code == "trust.approvals"
    vigil("fleet rollout approve commands --key keys/people/linus.key --yes")
    with pytest.raises(ConfigError, match="every device would refuse it"):
        vigil(f"{START} --commands commands")
    vigil(f"{SIGN} --out others --counters c.json")
    vigil("fleet rollout approve others --key keys/people/grace.key --yes")
    assert "begun for 6 devices" in vigil(f"{START} --commands others")


def test_a_wrong_plan_signs_nothing(vigil: Vigil, plan: Path) -> None:
    good = plan.read_text()
    for before, after, fault in (
        ("gate/people/1.0", "gate/people/9.0", "not published"),
        ("{group: canary}", "{group: nobody}", "group 'nobody' has no device"),
        ("soak_s: 600", "soak_s: soon", r"plan\.yaml: at \$\.soak_s"),
    ):
        plan.write_text(good.replace(before, after))
        with pytest.raises(ConfigError, match=fault):
            vigil(f"{SIGN} --out commands --counters c.json")
    plan.write_text(good)
    with pytest.raises(ConfigError, match="wave 9") as refused:
        vigil(f"{SIGN} --out commands --counters c.json --wave 9")
    assert "it has 3 waves" in refused.value.hint
    assert not Path("commands").exists()
    with pytest.raises(ConfigError, match=r"no \*\.command file"):
        vigil("fleet rollout start controller plan.yaml --commands .")
    assert json.loads(vigil("fleet rollout status controller --json")) == []
    plan.write_text(good.replace("window:", "#"))
    story = json.loads(vigil("fleet rollout simulate controller plan.yaml --json"))
    assert [moment["asked"] for moment in story if moment["verdict"] == "send"] == [1, 3, 6]


def test_a_release_that_nobody_approved_reaches_no_device(vigil: Vigil, plan: Path) -> None:
    draft = Path("draft/release.yaml")
    newer = draft.read_text().replace("version: '1.0'", "version: '2.0'")
    draft.write_text(newer.replace("counter: 1", "counter: 2"))
    vigil("release build draft/release.yaml --out second --key-out second.key")
    vigil("release stage repo --release second")
    good = plan.read_text()
    vigil(f"{SIGN} --out commands --counters c.json")
    plan.write_text(good.replace("people/1.0", "people/2.0"))
    for line in (f"{SIGN} --out others --counters c.json", f"{START} --commands commands"):
        with pytest.raises(ConfigError, match=r"people/2\.0: not published"):
            vigil(line)
    assert not Path("others").exists()
    assert json.loads(vigil("fleet rollout status controller --json")) == []
