"""MOTA, IDF1 and switches: cases counted by hand, the assignment against trying everything, the belt's own truth."""

from itertools import permutations
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.demo.releases import BUNDLED
from agent.vision.dataset import load_dataset
from agent.vision.detector import Detected
from agent.vision.tracking import Tracker
from agent.vision.tracking_accuracy import Tracked, best_assignment, tracking_accuracy
from tests.parts.processes import vigil


def at(left: float, track: int = 1, label: int = 0) -> Tracked:
    return Tracked(track, label, (left, 0.0, left + 10.0, 10.0))


def test_a_perfect_tracker_scores_one() -> None:
    frames = [([at(5.0 * i), at(100, 2)], [at(5.0 * i, 7), at(100, 9)]) for i in range(10)]
    report = tracking_accuracy(frames)
    assert (report.mota, report.idf1, report.switches) == (1.0, 1.0, 0)
    assert (report.objects, report.tracks, report.mostly_tracked) == (2, 2, 2)


def test_a_track_that_changes_in_the_middle_is_one_switch_and_half_the_identity() -> None:
    frames = [([at(0)], [at(0, 7 if i < 5 else 8)]) for i in range(10)]
    report = tracking_accuracy(frames)
    assert (report.switches, report.mota) == (1, 0.9)
    assert report.idf1 == 0.5


def test_misses_and_false_boxes_are_counted_and_a_gap_is_a_fragment() -> None:
    frames = [([at(0)], [at(0, 7)]), ([at(0)], [at(50, 8)]), ([at(0)], [at(0, 7)])]
    report = tracking_accuracy(frames)
    assert (report.misses, report.false_boxes, report.fragments, report.switches) == (1, 1, 1, 0)
    assert report.mota == pytest.approx(1 / 3, abs=1e-4)


def test_an_object_that_was_out_of_sight_is_no_fragment_if_its_track_came_back() -> None:
    frames = [([at(0)], [at(0, 7)]), ([], []), ([at(0)], [at(0, 7)])]
    assert tracking_accuracy(frames).fragments == 0


def test_a_pair_holds_while_it_overlaps_though_another_box_is_closer() -> None:
    frames = [([at(0)], [at(0, 7)]), ([at(0)], [at(2, 7), at(0, 8)])]
    assert tracking_accuracy(frames).switches == 0


def test_a_box_of_another_class_is_another_object() -> None:
    report = tracking_accuracy([([at(0)], [at(0, 7, label=1)])])
    assert (report.misses, report.false_boxes, report.idf1) == (1, 1, 0.0)


@pytest.mark.parametrize("seed", range(40))
def test_no_assignment_is_better_than_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 10, rng.integers(1, 6, 2)).astype(float)
    pairs = best_assignment(weights)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    tall = weights if weights.shape[0] <= weights.shape[1] else weights.T
    best = max(
        sum(tall[row, column] for row, column in enumerate(order))
        for order in permutations(range(tall.shape[1]), tall.shape[0])
    )
    assert sum(weights[row, column] for row, column in pairs) == pytest.approx(best)


def test_given_true_boxes_the_tracker_never_confuses_the_parts_on_the_belt() -> None:
    dataset = load_dataset(BUNDLED / "conveyor.json", BUNDLED / "conveyor.mp4")
    assert dataset.tracks is not None
    tracker, frames = Tracker(0.25), []
    for number, truth in sorted(dataset.tracks.items()):
        found = tracker.update(exact(truth), int(number * 1e9 / 15))
        frames.append((truth, [Tracked(one.track, one.label, one.box) for one in found]))
    report = tracking_accuracy(frames)
    assert (report.objects, report.switches) == (43, 0)
    assert report.mota > 0.999
    assert report.idf1 > 0.999


def exact(truth: list[Tracked]) -> Detected:
    boxes = np.array([one.box for one in truth], np.float32).reshape(-1, 4)
    labels = np.array([one.label for one in truth], np.int32)
    return Detected(boxes, np.full(len(truth), 0.9, np.float32), labels, {})


def test_vigil_eval_reports_tracking(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    files = ["--dataset", str(BUNDLED / "conveyor.json"), "--images", str(BUNDLED / "conveyor.mp4")]
    model = ["--model", str(BUNDLED / "parts-2.onnx"), "--json", str(report), "--tracking"]
    ran = vigil("eval", *model, *files)
    assert ran.returncode == 0, ran.stderr
    assert "id switches" in ran.stdout
    tracking = msgspec.json.decode(report.read_bytes())["tracking"]
    assert (tracking["frames"], tracking["objects"]) == (300, 43)
    assert tracking["mota"] > 0.72
    assert tracking["idf1"] > 0.85
    assert tracking["switches"] <= 22
    assert tracking["tracks"] <= 48
