"""A user for each way of becoming root, with a base to run scripts in."""

from __future__ import annotations

import pytest

from support.rootless import USERS, Builder, base_pack
from support.runtime import open_folder


@pytest.fixture(scope="session")
def builders():
    """All users, each started when it is first asked for."""
    with open_folder() as root:
        pack = base_pack(root)
        started: dict[str, Builder] = {}

        def get(mode, files=""):
            if mode + files not in started:
                started[mode + files] = Builder(mode, root, pack, files)
            return started[mode + files]

        yield get
        for builder in started.values():
            builder.end()


@pytest.fixture(params=USERS)
def builder(request, builders):
    """Each of them in turn."""
    return builders(request.param)


@pytest.fixture
def anyone(builders):
    """One of them, for what does not depend on how a script becomes root."""
    return builders("single")
