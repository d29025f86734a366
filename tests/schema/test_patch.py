"""Patches of documents: RFC 7396, with named things by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.schema.patch import difference, patched

CAMERAS = {"cameras": [{"name": "door", "source": "a", "fps": 5}, {"name": "yard", "source": "b"}]}


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ([1, 2], {"a": "b"}, {"a": "b"}),
    ],
)
def test_the_examples_of_rfc_7396_hold(before: Any, patch: Any, after: Any) -> None:
    assert patched(before, patch) == after


def test_a_named_thing_is_changed_added_and_taken_out_by_its_name() -> None:
    patch = {"cameras": {"door": {"fps": 9}, "yard": None, "roof": {"source": "c"}}}
    cameras = patched(CAMERAS, patch)["cameras"]
    assert cameras == [
        {"name": "door", "source": "a", "fps": 9},
        {"name": "roof", "source": "c"},
    ]


def test_the_first_of_a_named_list_is_added_by_name_too() -> None:
    patch = {"cameras": {"door": {"source": "a"}}}
    empties: list[dict[str, Any]] = [{}, {"cameras": []}, {"cameras": None}]
    for empty in empties:
        assert patched(empty, patch)["cameras"] == [{"name": "door", "source": "a"}]


def test_a_patch_that_makes_no_sense_is_left_for_the_schema_to_refuse() -> None:
    assert patched(CAMERAS, {"cameras": {"door": 5}})["cameras"][0] == 5


def test_what_is_set_back_leaves_no_difference() -> None:
    there = patched(CAMERAS, {"cameras": {"door": {"fps": 9}}})
    back = patched(there, {"cameras": {"door": {"fps": 5}}})
    assert difference(CAMERAS, there) == {"cameras": {"door": {"fps": 9}}}
    assert difference(CAMERAS, back) == {}


_PLAIN = st.booleans() | st.integers() | st.text(max_size=4)
_VALUES = _PLAIN | st.lists(_PLAIN, max_size=3)
_FIELDS = st.dictionaries(st.sampled_from("fg"), _VALUES)
_NAMED = st.dictionaries(st.sampled_from("xyz"), _FIELDS, max_size=3).map(
    lambda named: [{"name": name, **fields} for name, fields in named.items()]
)
_DOCUMENTS = st.fixed_dictionaries(
    {}, optional={"plain": _VALUES, "section": _FIELDS, "cameras": _NAMED}
)


@given(before=_DOCUMENTS, after=_DOCUMENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_difference_makes_the_one_of_the_other_and_changes_neither(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    kept = copy.deepcopy((before, after))
    assert _in_order(patched(before, difference(before, after))) == _in_order(after)
    assert (before, after) == kept


def _in_order(tree: Any, key: str = "") -> Any:
    """The same with named things sorted: a patch by name does not say where to put a new one."""
    if isinstance(tree, dict):
        return {name: _in_order(value, name) for name, value in tree.items()}
    if isinstance(tree, list) and all(isinstance(one, dict) and "name" in one for one in tree):
        return sorted((_in_order(one) for one in tree), key=lambda one: str(one["name"]))
    return tree
