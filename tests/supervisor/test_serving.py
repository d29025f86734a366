"""The supervisor with workers that misbehave: each is noticed, replaced or refused, and frames flow on."""

import itertools
import logging
import threading

import pytest

from agent.errors import ModelError
from agent.schema.config import CameraConfig
from agent.supervisor.backoff import Backoff
from tests.parts.processes import is_alive, until
from tests.supervisor.bench import Notes, bench, release, workers


def flowing(notes: Notes, name: str) -> None:
    """Wait for a new frame of this release."""
    seen = len(notes.frames)
    until(lambda: name in {who for _, who in notes.frames[seen:]}, 30, f"frames of {name}")


def test_a_silent_worker_is_killed_and_replaced() -> None:
    with bench("silent", silence_s=1.0) as (supervisor, notes):
        until(lambda: supervisor.worker_pid, 30, "a worker serves")
        first = supervisor.worker_pid
        assert first is not None
        until(lambda: notes.restarts, 30, "the silence is noticed")
        until(lambda: not is_alive(first), 30, "the silent worker is dead")
        until(lambda: supervisor.worker_pid not in {None, first}, 30, "another one serves")
        assert supervisor.health().restarts >= 1


def test_a_worker_that_talks_nonsense_is_killed() -> None:
    with bench("nonsense") as (supervisor, notes):
        until(lambda: notes.restarts >= 2, 30, "each one that talks nonsense is replaced")
        assert supervisor.health().restarts == notes.restarts


def test_a_worker_that_the_kernel_killed_for_its_limit_is_replaced_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.supervisor.worker_process.was_over_limit", lambda _pid: True)
    with bench("dies", backoff_min_s=1.0) as (_, notes):
        until(lambda: notes.restarts, 30, "it dies")
    assert "(update.worker_memory_mb) and was killed by the kernel; restarting it" in caplog.text


def test_a_worker_that_keeps_dying_is_not_restarted_in_a_frenzy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agent.supervisor")
    with bench("dies", backoff_min_s=0.5) as (_, notes):
        until(lambda: notes.restarts >= 4, 60, "it dies again and again")
    started_s = [one.created for one in caplog.records if one.message == "pipeline starting"]
    pauses_s = [after - before for before, after in itertools.pairwise(started_s[:4])]
    # They are half a second, one and two; the log may be late on one of them.
    assert all(pause_s > least_s for pause_s, least_s in zip(pauses_s, (0.25, 0.5, 1), strict=True))


def test_the_pauses_between_starts_double_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = 0
    monkeypatch.setattr("agent.supervisor.backoff.monotonic_ns", lambda: now_ms * 1_000_000)
    backoff = Backoff(least_s=0.1, most_s=0.3)
    assert backoff.is_over
    for pause_ms in (100, 200, 300, 300):
        backoff.count_start()
        now_ms += pause_ms - 1
        assert not backoff.is_over
        now_ms += 1
        assert backoff.is_over
    backoff.reset()
    assert backoff.is_over


def test_a_swap_reports_no_frame_twice_and_nothing_of_the_old_model_afterwards() -> None:
    with bench() as (supervisor, notes):
        flowing(notes, "good")
        old = supervisor.worker_pid
        supervisor.trial(release("better"))
        assert supervisor.swap() is not None
        flowing(notes, "better")
        assert old in notes.alive["better"], "it gave results until the other one did"
        names = [name for _, name in notes.frames]
        switch = names.index("better")
        assert set(names[:switch]) == {"good"}
        assert set(names[switch:]) == {"better"}
        numbers = [number for number, _ in notes.frames]
        assert numbers == sorted(set(numbers))
        assert supervisor.release is not None
        assert supervisor.release.manifest.name == "better"
        assert notes.restarts == 0


def test_only_one_worker_is_left_after_a_swap() -> None:
    with bench() as (supervisor, notes):
        flowing(notes, "good")
        old = supervisor.worker_pid
        supervisor.trial(release("better"))
        supervisor.swap()
        assert old is not None
        until(lambda: not is_alive(old), 30, "the old worker is gone")


@pytest.mark.parametrize(
    ("part", "code"),
    [("crashes", "model.crashed"), ("hangs", "model.timeout"), ("wrong", "model.golden")],
)
def test_a_candidate_that_fails_its_trial_leaves_the_old_model_serving(
    part: str, code: str
) -> None:
    with bench(trial_timeout_s=1.0 if part == "hangs" else 30.0) as (supervisor, notes):
        flowing(notes, "good")
        before = supervisor.worker_pid
        with pytest.raises(ModelError) as caught:
            supervisor.trial(release(part))
        assert caught.value.code == code
        flowing(notes, "good")
        assert supervisor.worker_pid == before
        assert notes.names == {"good"}


@pytest.mark.parametrize("source", ["belt.mp4", "/dev/video0"])
def test_a_candidate_that_gives_no_result_is_refused_and_the_old_one_serves_on(
    source: str,
) -> None:
    cameras = [CameraConfig(name="belt", source=source)]
    with bench(cameras=cameras, camera_timeout_s=1.0) as (supervisor, notes):
        flowing(notes, "good")
        supervisor.trial(release("mute"))
        with pytest.raises(ModelError) as caught:
            supervisor.swap()
        assert caught.value.code == "model.no_result"
        flowing(notes, "good")
        assert notes.names == {"good"}
        assert notes.restarts == 0


def test_an_exclusive_camera_is_handed_over() -> None:
    with bench(cameras=[CameraConfig(name="belt", source="/dev/video0")]) as (supervisor, notes):
        flowing(notes, "good")
        supervisor.trial(release("better"))
        supervisor.swap()
        flowing(notes, "better")
        numbers = [number for number, _ in notes.frames]
        assert numbers == sorted(set(numbers))


def test_where_memory_holds_one_model_the_old_one_makes_room_and_comes_back() -> None:
    with bench(two_models=False) as (supervisor, notes):
        flowing(notes, "good")
        with pytest.raises(ModelError):
            supervisor.trial(release("wrong"))
        flowing(notes, "good")
        assert supervisor.pipeline == "running"

        old = supervisor.worker_pid
        assert old is not None
        supervisor.trial(release("better"))
        assert not is_alive(old)
        supervisor.swap()
        flowing(notes, "better")


def test_a_dismissed_candidate_gives_its_room_back() -> None:
    with bench(two_models=False) as (supervisor, notes):
        flowing(notes, "good")
        supervisor.trial(release("better"))
        supervisor.discard()
        flowing(notes, "good")
        assert notes.names == {"good"}


def test_going_back_serves_the_old_release_again() -> None:
    with bench() as (supervisor, notes):
        flowing(notes, "good")
        supervisor.trial(release("better"))
        supervisor.swap()
        flowing(notes, "better")
        supervisor.serve(release("good"))
        flowing(notes, "good")
        assert supervisor.health().restarts == 0


def test_stopping_ends_a_trial_that_hangs_at_once_and_leaves_no_worker() -> None:
    raised: list[ModelError] = []

    def trial() -> None:
        with pytest.raises(ModelError) as caught:
            supervisor.trial(release("hangs"))
        raised.append(caught.value)

    with bench(trial_timeout_s=60.0) as (supervisor, notes):
        flowing(notes, "good")
        thread = threading.Thread(target=trial)
        thread.start()
        until(lambda: len(workers()) > 1, 30, "the candidate's worker")
        supervisor.abandon_trial()
        thread.join(30)
        assert [error.code for error in raised] == ["model.crashed"]
        with pytest.raises(ModelError):
            supervisor.trial(release("better"))
    until(lambda: not workers(), 30, "no worker is left")
