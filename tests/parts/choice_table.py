"""What would be chosen on every recorded board, as Markdown for docs/profiles.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.profile_tables import CHOICE_COLUMNS, choice_row
from agent.host.board import read_facts
from agent.models.choose import choose, ranked
from agent.models.profiles import examine, load_profiles
from tests.parts import boards, jetsons
from tests.parts.coco import coco_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PROFILES = Path(__file__).resolve().parents[2] / "device_profiles"
BOARDS: Mapping[str, Callable[[Path], Path]] = {
    "Jetson Orin Nano, JetPack 6.0, 15W": jetsons.jetson_orin_nano,
    "Jetson Orin Nano Super, JetPack 6.2, MAXN_SUPER": jetsons.jetson_orin_nano_super,
    "Jetson Orin NX 16 GB, JetPack 6.2": jetsons.jetson_orin_nx,
    "Jetson AGX Orin 64 GB, JetPack 6.2": jetsons.jetson_agx_orin,
    "Jetson Xavier NX, JetPack 5.1.2": jetsons.jetson_xavier_nx,
    "Jetson Nano, JetPack 4.6.1": jetsons.jetson_nano,
    "Raspberry Pi 5, 8 GB": boards.raspberry_pi_5,
    "Raspberry Pi 4, 4 GB": boards.raspberry_pi_4,
    "Raspberry Pi 4, 2 GB, Coral USB": boards.raspberry_pi_4_coral,
    "Raspberry Pi 3 B+": boards.raspberry_pi_3,
    "Raspberry Pi Zero 2 W": boards.raspberry_pi_zero_2_w,
    "Radxa Rock 5B (no profile of its own)": boards.generic_arm64,
    "Mini PC, Celeron N4505": boards.small_pc,
    "Server with a T4, onnxruntime-gpu": boards.cuda_server,
}


def choice_tables(folder: Path) -> str:
    """Return one line for each board, then one table for each; recorded boards go below `folder`."""
    lines = [
        "| board | profile | chosen | accuracy | expected ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    tables = []
    for number, (title, board) in enumerate(BOARDS.items()):
        root = folder / str(number)
        root.mkdir()
        summary, table = _board(title, board(root))
        lines.append(summary)
        tables.append(table)
    return "\n".join(lines) + "\n\n" + "\n".join(tables)


def _board(title: str, root: Path) -> tuple[str, str]:
    manifest, facts = coco_manifest(), read_facts(root)
    profile = examine(facts, load_profiles([_PROFILES])).profile
    choice = choose(profile, manifest, facts)
    rows = [choice_row(*pair) for pair in ranked(manifest, choice)]
    chosen = rows[0] if choice.variant else ("none fits", "", "")
    table = [f"### {title}", "", _line(CHOICE_COLUMNS), _line(("---",) * len(CHOICE_COLUMNS))]
    return _line((title, profile.name, *chosen[:3])), "\n".join([*table, *map(_line, rows), ""])


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
