"""The image mounted by the kernel, through a loop device that goes with the mount. Needs to be root."""

from __future__ import annotations

import errno
import os
import sys

from sifmake.runtime import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.image import Image

_CONTROL = "/dev/loop-control"
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
_FLAGS = system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV
_ATTEMPTS = 256
"""How often another process may take the free device first."""


def mount_loop(image: Image, folder: str) -> None:
    """Mount the image's partition on a folder; OSError if this user or the kernel (5.8 or newer) cannot."""
    device, name = _attach(image)
    try:
        system.mount(name, folder, "squashfs", _FLAGS)
    finally:
        os.close(device)


def _attach(image: Image) -> tuple[int, str]:
    """Give the partition to a loop device; returns that, open, and its path. Closed, it is free again."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _attempt in range(_ATTEMPTS):
            free = system.control(control, LOOP_CTL_GET_FREE, 0, _CONTROL)
            name = f"/dev/loop{free}"
            device = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                system.control(device, LOOP_CONFIGURE, _configuration(image), name)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, name
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "all loop devices are in use", _CONTROL)


def _configuration(image: Image) -> bytes:
    """Return a ``struct loop_config`` (linux/loop.h)."""
    place = bytes(24) + _number(image.offset, 8) + _number(image.size, 8)
    flags = bytes(12) + _number(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, 4)
    names_and_key, reserved = bytes(176), bytes(64)
    return _number(image.fd, 4) + bytes(4) + place + flags + names_and_key + reserved


def _number(value: int, size: int) -> bytes:
    """Return a number as this machine's C has it."""
    return value.to_bytes(size, sys.byteorder)
