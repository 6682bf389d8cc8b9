"""No two classes have one name, so that a name says which one is meant."""

from __future__ import annotations

import re
from collections import defaultdict

from support.project import REPOSITORY

FIELDS_WORDS = {"Descriptor"}
"""Both the SIF format and OCI define a descriptor."""
_CLASS = re.compile(r"^class ([A-Z]\w*)", re.MULTILINE)


def test_no_name_of_a_class_stands_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for name in _CLASS.findall(path.read_text()):
            places[name].append(str(path.relative_to(REPOSITORY / "src")))
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in FIELDS_WORDS}
    assert twice == {}, "give each the better name for its room"
