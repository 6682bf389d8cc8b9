"""Who processes believe to be, after the rules of set*id(2)."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from sifmake.rootless.identities import Identities, Identity, Ids, change
from sifmake.runtime.children import children_of

NOBODY = 2**64 - 1
JOE = Identity(Ids(5, 5, 5, 5), Ids(7, 7, 7, 7))


@pytest.mark.parametrize(
    ("before", "name", "arguments", "after"),
    [
        ((0, 0, 0, 0), "setuid", [5], (5, 5, 5, 5)),
        ((5, 5, 0, 5), "setuid", [0], (5, 0, 0, 0)),
        ((0, 0, 0, 0), "setreuid", [NOBODY, 5], (0, 5, 5, 5)),
        ((0, 0, 0, 0), "setreuid", [5, NOBODY], (5, 0, 0, 0)),
        ((5, 6, 7, 6), "setreuid", [6, 5], (6, 5, 5, 5)),
        ((5, 5, 6, 5), "setreuid", [NOBODY, 5], (5, 5, 6, 5)),
        ((0, 0, 0, 0), "setresuid", [NOBODY, 5, NOBODY], (0, 5, 0, 5)),
        ((0, 5, 0, 5), "setresuid", [0, 0, 0], (0, 0, 0, 0)),
        ((0, 0, 0, 0), "setfsuid", [5], (0, 0, 0, 5)),
        ((5, 5, 5, 5), "setfsuid", [6], (5, 5, 5, 5)),
    ],
)
def test_users_change_as_in_the_kernel(before, name, arguments, after):
    assert change(Identity(Ids(*before)), name, arguments).users == after


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("setuid", [0]), ("setgid", [0]), ("setreuid", [0, 5]), ("setregid", [7, 0]), ("setresuid", [5, 5, 0])],
)
def test_who_is_not_root_gets_no_other_rights(name, arguments):
    with pytest.raises(PermissionError) as caught:
        change(JOE, name, arguments)
    assert caught.value.errno == errno.EPERM


def test_groups_change_by_the_rights_of_the_user():
    assert change(Identity(), "setresgid", [1, 2, 3]).groups == (1, 2, 3, 2)
    assert change(Identity(Ids(0, 5, 0, 5), Ids(1, 2, 3, 2)), "setgid", [1]).groups == (1, 1, 3, 1)


def test_children_inherit():
    """A process whose parent believes to be Joe does so too, and a later one of its number does not."""
    parent = subprocess.Popen(["sh", "-c", "cat; :"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    proc = os.open("/proc", os.O_RDONLY)
    try:
        identities = Identities(proc)
        while not (children := children_of(parent.pid)):
            pass
        assert identities.of(children[0]) == Identity()
        identities.note(parent.pid, JOE)
        assert identities.of(children[0]) == JOE
        assert identities.of(os.getppid()) == Identity()
        identities.note(children[0], Identity())
        assert identities.of(children[0]) == Identity()
    finally:
        parent.communicate(b"")
        os.close(proc)
