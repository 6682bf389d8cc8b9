"""Mount the image with the kernel, through a loop device that disappears with the mount. Only root can do that."""

from __future__ import annotations

import errno
import os
import sys

from sifmake.runtime import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.image import OpenImage

_CONTROL = "/dev/loop-control"
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
_FLAGS = system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV
_ATTEMPTS = 256
"""How often to try again if another process takes the free device first."""


def mount_loop(image: OpenImage, folder: str) -> None:
    """Mount the image's partition on a folder; OSError if this user or the kernel (5.8 or newer) cannot."""
    device, name = _attach(image)
    try:
        system.mount(name, folder, "squashfs", _FLAGS)
    finally:
        os.close(device)


def _attach(image: OpenImage) -> tuple[int, str]:
    """Attach the partition to a loop device; return its descriptor and path. Closing it frees the device."""
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


def _configuration(image: OpenImage) -> bytes:
    """Return a ``struct loop_config`` (linux/loop.h)."""
    place = bytes(24) + _number(image.offset, 8) + _number(image.size, 8)
    flags = bytes(12) + _number(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, 4)
    names_and_key, reserved = bytes(176), bytes(64)
    return _number(image.fd, 4) + bytes(4) + place + flags + names_and_key + reserved


def _number(value: int, size: int) -> bytes:
    """Return a number in this machine's byte order."""
    return value.to_bytes(size, sys.byteorder)
