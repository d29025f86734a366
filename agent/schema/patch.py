"""Changes to a document as a document: JSON merge patch (RFC 7396), with named things patched by name. Pure.

    {"detect": {"confidence": 0.4}}           sets one field
    {"governor": null}                        takes the section out, so that its defaults hold
    {"cameras": {"door": {"fps": 5}}}         changes one camera of the list `cameras`
    {"cameras": {"door": null}}               takes it out

RFC 7396 can only replace a list as a whole; a list of things that each have a `name` is treated here as if
it were a dictionary by that name. Such a patch may also bring a whole new list.
"""

from __future__ import annotations

from typing import Any

# These go by name even while they are empty.
NAMED_LISTS = frozenset({"cameras", "zones", "lines", "speeds", "masks"})


def patched(document: Any, patch: Any, key: str = "") -> Any:
    """Return `document` with `patch` applied; neither is changed.

    Args:
        document: Plain lists and dictionaries.
        patch: What to change of it.
        key: Name of the field that holds `document`.
    """
    if not isinstance(patch, dict):
        return patch
    if _by_name(document, key):
        fields = patched({one["name"]: one for one in document or ()}, patch)
        return [_named(name, value) for name, value in fields.items()]
    result = dict(document) if isinstance(document, dict) else {}
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), change, name)
    return result


def difference(before: Any, after: Any, key: str = "") -> Any:
    """Return the smallest patch that makes `after` of `before`; an empty one when they are the same."""
    if _by_name(before, key) and _by_name(after, key):
        before, after = ({one["name"]: one for one in side or ()} for side in (before, after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    changes = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before or before[name] != value:
            changes[name] = difference(before.get(name), value, name)
    return changes


def _named(name: str, value: Any) -> Any:
    return {"name": name, **value} if isinstance(value, dict) else value


def _by_name(value: Any, key: str) -> bool:
    if value is None or value == []:
        return key in NAMED_LISTS
    if not isinstance(value, list):
        return False
    names = [one.get("name") if isinstance(one, dict) else None for one in value]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
