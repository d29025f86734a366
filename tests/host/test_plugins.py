"""Loading plug-ins by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import ConfigError
from agent.host.plugins import load_plugin

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "vigil.test_parts"


def test_a_name_of_the_table_gives_its_object() -> None:
    assert load_plugin({"paths": "pathlib:PurePath"}, "paths", GROUP).__name__ == "PurePath"


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="expected one of a, b, found 'c'") as caught:
        load_plugin({"b": "x:y", "a": "x:y"}, "c", GROUP)
    assert caught.value.code == "plugin.unknown"


@pytest.mark.parametrize("place", ["no_such_module_here:Thing", "pathlib:NoSuchThing"])
def test_a_part_that_is_not_installed_is_named(place: str) -> None:
    with pytest.raises(ConfigError, match="'thing'") as caught:
        load_plugin({"thing": place}, "thing", GROUP)
    assert caught.value.code == "plugin.unavailable"


def test_third_parties_add_theirs_by_entry_point_but_replace_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "acme_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-parts\nVersion: 1.0\n")
    points = f"[{GROUP}]\nnew = pathlib:PosixPath\nold = pathlib:PosixPath\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    table = {"old": "pathlib:PurePath"}
    assert load_plugin(table, "new", GROUP).__name__ == "PosixPath"
    assert load_plugin(table, "old", GROUP).__name__ == "PurePath"
