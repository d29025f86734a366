"""What the event store keeps, what it gives up first, and what it survives."""

import threading
from pathlib import Path

from agent.errors import StorageError
from agent.events.store import EventStore
from agent.host.clock import wall_ms
from agent.host.disk import RealDisk
from agent.schema.events import PictureKind
from tests.events.conftest import MakeStore, event

MIB = 2**20
KINDS = {
    PictureKind.SNAPSHOT: b"snapshot",
    PictureKind.THUMBNAIL: b"thumbnail",
    PictureKind.CLIP: b"clip",
}


def fill(store: EventStore, *numbers: int, size: int = 100) -> None:
    """Ended events, each with one snapshot of `size` bytes."""
    for number in numbers:
        store.put_event(event(number, "end"))
        store.put_picture(f"boot-door-{number}", PictureKind.SNAPSHOT, b"x" * size)
        store.flush()


def ids(store: EventStore, **filters: object) -> list[str]:
    return [record.event.id for record in store.recent(**filters)]  # type: ignore[arg-type]


def pictured(store: EventStore) -> list[str]:
    return [one.event.id for one in store.recent() if one.has_snapshot]


def test_an_event_comes_back_with_its_pictures(make_store: MakeStore) -> None:
    store = make_store()
    store.put_event(event())
    for kind, data in KINDS.items():
        store.put_picture("boot-door-1", kind, data)
    store.flush()
    record = store.event("boot-door-1")
    assert record is not None
    assert (record.event, record.has_snapshot, record.has_thumbnail, record.has_clip) == (
        event(), True, True, True,
    )  # fmt: skip
    assert store.snapshot("boot-door-1") == b"snapshot"
    assert store.thumbnail("boot-door-1") == b"thumbnail"
    assert store.clip("boot-door-1") == b"clip"
    assert (store.report().events, store.report().bytes) == (1, 21)


def test_a_new_event_is_known_to_the_next_life_however_soon_this_one_ends(
    make_store: MakeStore,
) -> None:
    make_store().put_event(event(1, "new"))  # and nothing is flushed
    assert [one.event.id for one in make_store().open_events()] == ["boot-door-1"]


def test_what_is_not_there_is_none(make_store: MakeStore) -> None:
    store = make_store()
    store.put_event(event())
    store.flush()
    assert store.event("../../etc/passwd") is None
    assert store.snapshot("../../etc/passwd") is None
    assert store.clip("boot-door-1") is None


def test_the_newest_come_first_and_are_filtered(make_store: MakeStore) -> None:
    store = make_store()
    for number, camera, label in ((1, "door", "person"), (2, "yard", "dog"), (3, "door", "dog")):
        store.put_event(event(number, camera=camera, label=label))
    store.flush()
    assert ids(store) == ["boot-door-3", "boot-door-2", "boot-door-1"]
    assert ids(store, limit=1) == ["boot-door-3"]
    assert ids(store, camera="door") == ["boot-door-3", "boot-door-1"]
    assert ids(store, label="dog", camera="yard") == ["boot-door-2"]
    assert ids(store, before_ms=3000) == ["boot-door-2", "boot-door-1"]


def test_a_newer_message_replaces_the_older_and_keeps_the_pictures(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, 1)
    store.put_event(event(1, "end", score=0.1))
    store.flush()
    (record,) = store.recent()
    assert (record.event.score, record.has_snapshot) == (0.1, True)


def test_the_oldest_pictures_go_when_the_budget_is_reached(
    make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(max_mb=1)
    fill(store, 1, 2, 3, 4, size=300_000)
    assert pictured(store) == ["boot-door-4", "boot-door-3", "boot-door-2"]
    assert ids(store)[-1] == "boot-door-1"
    assert store.snapshot("boot-door-1") is None
    kept = sum(path.stat().st_size for path in (tmp_path / "events" / "pictures").iterdir())
    assert kept == store.report().bytes <= MIB


def test_everything_is_there_in_the_next_life(make_store: MakeStore) -> None:
    fill(make_store(), 1, 2)
    store = make_store()
    assert pictured(store) == ["boot-door-2", "boot-door-1"]
    assert store.snapshot("boot-door-2") == b"x" * 100
    assert store.report().bytes == 200


def test_files_and_index_agree_again_after_a_crash(make_store: MakeStore, tmp_path: Path) -> None:
    fill(make_store(), 1, 2)
    pictures = tmp_path / "events" / "pictures"
    (pictures / "1.snapshot.jpg").unlink()
    (pictures / "9.clip.avi").write_bytes(b"never indexed")
    (pictures / ".2.clip.avi.tmp").write_bytes(b"cut off")
    store = make_store()
    assert pictured(store) == ["boot-door-2"]
    assert [path.name for path in pictures.iterdir()] == ["2.snapshot.jpg"]


def test_a_damaged_index_is_set_aside(make_store: MakeStore, tmp_path: Path) -> None:
    first = make_store()
    fill(first, 1)
    first._index.close()
    (tmp_path / "events" / "events.db").write_bytes(b"no database" * 1000)
    store = make_store()
    assert store.recent() == []
    fill(store, 2)
    assert pictured(store) == ["boot-door-2"]


class FullDisk(RealDisk):
    """A disk that has no room for another file while `full`."""

    full = True

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        if self.full:
            raise StorageError(f"{path}: No space left on device", code="storage.full")
        super().write_atomic(path, data, mode)


def test_events_go_on_without_pictures_while_the_disk_is_full(make_store: MakeStore) -> None:
    disk = FullDisk()
    store = make_store(disk)
    fill(store, 1)
    assert (ids(store), pictured(store)) == (["boot-door-1"], [])
    assert not store.keeps_pictures
    assert "No space left" in store.report().problem
    assert store.report().lost == 1
    disk.full = False
    fill(store, 2)
    assert store.keeps_pictures
    assert pictured(store) == ["boot-door-2"]


def test_the_last_free_space_is_left_to_others(make_store: MakeStore) -> None:
    store = make_store(min_free_mb=2**40)
    fill(store, 1)
    assert ids(store) == ["boot-door-1"]
    assert "must stay free" in store.problem


def test_events_are_forgotten_after_their_days(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(retain_days=1.0)
    fill(store, 1)
    now_ms = wall_ms()
    store.put_event(event(2, "end", start_ms=now_ms, at_ms=now_ms, end_ms=now_ms))
    store.put_event(event(3))
    store.flush()
    store._tidy()
    assert ids(store) == ["boot-door-2", "boot-door-3"]
    assert list((tmp_path / "events" / "pictures").iterdir()) == []


def test_a_slow_disk_loses_pictures_and_no_memory(make_store: MakeStore) -> None:
    store = make_store()
    store.put_event(event())
    for _ in range(40):
        store.put_picture("boot-door-1", PictureKind.CLIP, bytes(MIB))
    assert store.report().lost == 8


def test_its_loop_writes_and_stops(make_store: MakeStore) -> None:
    store, stop = make_store(), threading.Event()
    thread = threading.Thread(target=store.run, args=(stop,))
    thread.start()
    store.put_event(event(1))
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert ids(make_store()) == ["boot-door-1"]
