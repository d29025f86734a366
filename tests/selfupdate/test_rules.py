"""Which version may be installed, when it is kept, and how its configuration moves: pure rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.app.config_files import prepare_for, settle_config
from agent.config.reading import kept_copy, load_config
from agent.errors import ConfigError, PackageError, TrustError, VigilError
from agent.release.agent_release import build_agent_release
from agent.schema.agent_release import AgentBundle, AgentManifest
from agent.schema.config_versions import Step, migrate
from agent.update.selfupdate.admission import AgentFacts, admit_agent
from agent.update.selfupdate.install import _unpack
from agent.update.selfupdate.window import Verdict, Vitals, Window

BUNDLE = AgentBundle(python="3.11", machine="aarch64", file="b.tar", size=1, sha256="0" * 64)
MANIFEST = AgentManifest(
    schema=1, version="2.0.0", min_agent="1.0", config_schema=1, bundles=[BUNDLE]
)
FACTS = AgentFacts("1.5.0", "3.11", "aarch64", {"1.9.0": "hung"})
PATH = "agent/2.0.0/manifest.json"

REFUSALS: dict[str, tuple[type[VigilError], str, AgentManifest, str]] = {
    "named otherwise": (TrustError, "trust.wrong_release", MANIFEST, "agent/2.0.1/manifest.json"),
    "a schema of the future": (PackageError, "package.schema", replace(MANIFEST, schema=2), PATH),
    "too big a step": (PackageError, "package.min_agent", replace(MANIFEST, min_agent="1.6"), PATH),
    "older": (
        TrustError,
        "trust.rollback",
        replace(MANIFEST, version="1.4.9"),
        "agent/1.4.9/manifest.json",
    ),
    "the same": (
        TrustError,
        "trust.rollback",
        replace(MANIFEST, version="1.5"),
        "agent/1.5/manifest.json",
    ),
    "bad before": (
        PackageError,
        "package.bad_before",
        replace(MANIFEST, version="1.9.0"),
        "agent/1.9.0/manifest.json",
    ),
    "another machine": (
        PackageError,
        "package.no_bundle",
        replace(MANIFEST, bundles=[replace(BUNDLE, machine="x86_64")]),
        PATH,
    ),
}


def test_a_newer_version_for_this_machine_is_admitted() -> None:
    assert admit_agent(MANIFEST, PATH, FACTS, force=False) is BUNDLE


@pytest.mark.parametrize("case", REFUSALS)
def test_what_must_not_run_here_is_refused(case: str) -> None:
    kind, code, manifest, path = REFUSALS[case]
    with pytest.raises(kind) as caught:
        admit_agent(manifest, path, FACTS, force=False)
    assert caught.value.code == code


@pytest.mark.parametrize("case", ["older", "the same", "bad before"])
def test_force_goes_back_on_purpose(case: str) -> None:
    _, _, manifest, path = REFUSALS[case]
    assert admit_agent(manifest, path, FACTS, force=True) is BUNDLE


# the window -----------------------------------------------------------------------------------------

WELL = Vitals(connected=True, expects_frames=True, frames=50)
STORIES = {
    "well all the time": ([WELL] * 10, Verdict.KEEP, ""),
    "well after a while": ([Vitals(connected=False, expects_frames=True)] * 20 + [WELL] * 10, Verdict.KEEP, ""),
    "well with breaks": ([WELL] * 9 + [Vitals(connected=False, expects_frames=True)], Verdict.WAIT, ""),
    "never connected": ([Vitals(connected=False, expects_frames=False)] * 60, Verdict.GIVE_UP, "broker"),
    "blind": ([Vitals(connected=True, expects_frames=True)] * 60, Verdict.GIVE_UP, "no frames"),
    "failing": ([Vitals(connected=True, expects_frames=True, frames=1, errors=9)] * 60, Verdict.GIVE_UP, "inferences fail"),
    "without a model": ([Vitals(connected=True, expects_frames=False)] * 10, Verdict.KEEP, ""),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_a_version_is_kept_only_when_all_is_well_for_long_enough(story: str) -> None:
    seen, verdict, fault = STORIES[story]
    window = Window(health_s=10.0, deadline_s=60.0)
    for vitals in seen:
        window = window.after(vitals, 1.0)
    assert window.verdict is verdict
    assert fault in window.fault


# the configuration ----------------------------------------------------------------------------------

STEPS = {
    1: Step(
        up=lambda old: {**old, "limits": {"fps": old.get("fps", 5)}},
        down=lambda new: {key: value for key, value in new.items() if key != "limits"},
    ),
    2: Step(
        up=lambda old: {**old, "site": "main"},
        down=lambda new: {key: value for key, value in new.items() if key != "site"},
    ),
}


def test_a_document_goes_up_and_comes_back_as_it_was() -> None:
    old = {"schema": 1, "fps": 7}
    new = migrate(old, 3, STEPS)
    assert new == {"schema": 3, "fps": 7, "limits": {"fps": 7}, "site": "main"}
    assert migrate(new, 1, STEPS) == old
    assert old == {"schema": 1, "fps": 7}, "the one given is not changed"


@pytest.mark.parametrize("schema", [9, -1, "1", None, True])
def test_no_way_is_an_error_that_says_so(schema: object) -> None:
    with pytest.raises(ConfigError) as caught:
        migrate({"schema": schema}, 1, STEPS)
    assert caught.value.code == "config.schema"


OLD = "schema: 0\ndevice: {id: d, class: c}\nbroker: {server: b, allow_plaintext: true}\n"


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of schema 0, in which the broker's `host` was called `server`."""

    def renamed(document: dict, before: str, after: str) -> dict:
        broker = {
            after if key == before else key: value for key, value in document["broker"].items()
        }
        return {**document, "broker": broker}

    step = Step(
        up=lambda old: renamed(old, "server", "host"),
        down=lambda new: renamed(new, "host", "server"),
    )
    monkeypatch.setattr(migrate, "__defaults__", (1, {0: step}))
    path = tmp_path / "vigil.yaml"
    path.write_text(OLD)
    return path


def test_an_older_file_is_read_settled_and_kept(older: Path) -> None:
    assert load_config(older).broker.host == "b", "in memory, before anything is written"
    assert older.read_text() == OLD
    settle_config(older)
    assert "schema: 1" in older.read_text()
    assert kept_copy(older, 0).read_text() == OLD
    settled = older.read_text()
    settle_config(older)
    assert older.read_text() == settled, "once is enough"


def test_before_an_older_version_starts_its_file_is_made(older: Path) -> None:
    settle_config(older)
    older.write_text(older.read_text().replace("id: d", "id: renamed"))
    prepare_for(older, 0)
    assert "id: renamed" in kept_copy(older, 0).read_text()
    assert "server: b" in kept_copy(older, 0).read_text()


def test_the_version_before_finds_its_own_file_again(tmp_path: Path) -> None:
    path = tmp_path / "vigil.yaml"
    mine = "schema: 1\ndevice: {id: d, class: c}\nbroker: {host: b, allow_plaintext: true}\n"
    path.write_text("schema: 2\nof: {the: future}\n")
    with pytest.raises(ConfigError, match=r"vigil.yaml: at \$.schema: expected 1, found 2"):
        load_config(path)
    kept_copy(path, 1).write_text(mine)
    assert load_config(path).device.id == "d"
    settle_config(path)
    assert path.read_text() == mine
    assert "future" in kept_copy(path, 2).read_text()


def test_a_folder_that_cannot_be_written_changes_nothing(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly:
        def write_atomic(self, *_: object, **__: object) -> None:
            from agent.errors import StorageError

            raise StorageError("read-only", code="storage.read_only")

    settle_config(older, ReadOnly())  # type: ignore[arg-type]
    assert older.read_text() == OLD
    assert load_config(older).broker.host == "b"


def test_a_bundle_takes_names_as_long_as_wheels_have_them(tmp_path: Path) -> None:
    wheels, slot = tmp_path / "wheels", tmp_path / "slot"
    platforms = ".".join(f"manylinux_2_{minor}_x86_64" for minor in range(17, 24))
    names = {"vigil_agent-1.0.0-py3-none-any.whl", f"library-1.0-cp311-cp311-{platforms}.whl"}
    wheels.mkdir()
    slot.mkdir()
    for name in names:
        (wheels / name).write_text(name)
    build_agent_release(tmp_path / "release", {"3.11-x86_64": wheels}, "0.1")
    (bundle,) = (tmp_path / "release").glob("*.tar")
    _unpack(bundle, slot)
    assert {path.name: path.read_text() for path in slot.iterdir()} == {
        name: name for name in names
    }
