"""Classifiers: ranked probabilities, and a box for the best class."""

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.details import Ranking
from agent.vision.families import Head, open_decoder
from tests.vision.heads import (
    SIDE,
    decode,
    head,
)


def test_classes_are_ranked_and_the_best_is_a_box_round_the_input() -> None:
    found = decode("classify", [np.array([[0.1, 0.7, 0.2]], np.float32)])
    assert isinstance(found.details, Ranking)
    assert found.details.labels.tolist() == [1, 2, 0]
    assert found.details.scores == pytest.approx([0.7, 0.2, 0.1])
    assert (found.labels.tolist(), found.xyxy.tolist()) == ([1], [[0, 0, SIDE, SIDE]])


def test_a_class_below_the_threshold_is_ranked_but_no_object() -> None:
    decoder = open_decoder("ultralytics", head(), "classify")
    found = decoder.decode([np.array([[0.1, 0.7, 0.2]], np.float32)], 0.75, 0.6)
    assert (found.xyxy.shape, found.labels.tolist()) == ((0, 4), [])
    assert isinstance(found.details, Ranking)
    assert found.details.labels[0] == 1


def test_logits_are_refused_until_they_are_stated() -> None:
    logits = [np.log(np.array([[0.1, 0.7, 0.2]], np.float32)) + 3]
    with pytest.raises(ModelError) as caught:
        decode("classify", logits)
    assert caught.value.code == "model.class_scores"
    assert "--class-scores logits" in caught.value.hint
    stated = open_decoder("ultralytics", head(class_scores="logits"), "classify")
    details = stated.decode(logits, 0.25, 0.6).details
    assert isinstance(details, Ranking)
    assert details.scores == pytest.approx([0.7, 0.2, 0.1])


def test_quantised_probabilities_may_miss_one_by_their_rounding() -> None:
    decoder = open_decoder("ultralytics", Head(1000, SIDE, SIDE), "classify")
    scores = np.zeros((1, 1000), np.float32)
    scores[0, 7] = 200 / 256
    assert decoder.decode([scores], 0.25, 0.6).labels.tolist() == [7]


def test_unknown_class_scores_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        open_decoder("ultralytics", head(class_scores="tea-leaves"), "classify")
    assert caught.value.code == "model.family"
