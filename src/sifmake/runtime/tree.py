"""The image's files, made readable for one run: by the kernel, by FUSE, or unpacked, and gone with the run."""

from __future__ import annotations

import os

from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import mount_points, own_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.caller import Caller
    from sifmake.runtime.fuse import FuseMount
    from sifmake.runtime.image import Image
    from sifmake.runtime.request import Request
    from sifmake.runtime.scratch import Scratch


class Tree:
    """Where the image is. ``sifmake`` begins, the keeper settles, both end what they have begun.

    Attributes:
        nested: Whether this process is root in a user namespace of its own.
        outside: Whether it has no namespace of its own, for none is allowed.
        folder: The image's files, once settled.
        cover: A folder that can be covered by a writable layer; empty if there is none.
    """

    def __init__(self, request: Request, image: Image, caller: Caller) -> None:
        self.request = request
        self.image = image
        self.caller = caller
        self.nested = False
        self.outside = False
        self.folder = ""
        self.cover = ""
        self.fuse: FuseMount | None = None
        self.scratch: Scratch | None = None

    def begin(self, bwrap: str) -> None:
        """Enter namespaces and begin to mount.

        Raises:
            RunError: No namespace is allowed, and bwrap could not run without one either.
        """
        try:
            self.nested = own_namespace(self.caller.uid, self.caller.gid)
        except OSError as error:
            from sifmake.runtime.outside import check_bwrap
            from sifmake.runtime.scratch import Scratch

            check_bwrap(bwrap, error.strerror or str(error))
            self.outside, self.scratch = True, Scratch()
        else:
            sources = [item.partition(":")[0] for item in self.request.binds]
            point, self.cover = mount_points([self.caller.cwd, self.caller.home, *sources])
            self.folder = point if (not self.nested and self.loop(point)) or self.serve(point) else ""

    def loop(self, point: str) -> bool:
        """Mount the image by the kernel; returns whether it could."""
        from sifmake.runtime.loop import mount_loop

        try:
            mount_loop(self.image, point)
        except OSError:
            return False
        return True

    def serve(self, point: str) -> bool:
        """Begin to mount the image by squashfuse; returns whether that is possible."""
        from sifmake.runtime.fuse import FuseMount, fuse_program

        # To change a file in the writable layer, the user must be its owner: nobody else is in the namespace.
        owned = self.nested and self.request.writable_tmpfs
        program = fuse_program(owned=owned)
        if program:
            self.fuse = FuseMount(program, self.image, point, ",uid=0,gid=0" if owned else "")
            self.fuse.serve(everybody=not self.nested)
        return bool(program)

    def warm(self) -> None:
        """Read the program while the keeper prepares the rest; squashfuse is busy enough with that."""
        if self.folder and not self.fuse:
            from sifmake.runtime.warm import warm

            warm(self.request, self.folder)

    def settle(self) -> str:
        """Return the folder with the image when it can be read; where nothing mounts it, it is unpacked."""
        try:
            if self.outside:
                self.mount_outside()
            elif self.fuse:
                self.fuse.settle(everybody=not self.nested)
        except RunError:
            self.fuse, self.folder = None, ""
        if not self.folder:
            self.unpack()
        return self.folder

    def mount_outside(self) -> None:
        """Let squashfuse mount the image on a folder of the host, if users can do that."""
        from sifmake.runtime.outside import outside_mount

        self.fuse = outside_mount(self.image, f"{self.temporary()}/mounted")
        if self.fuse:
            self.fuse.mount()
            self.folder = self.fuse.folder

    def unpack(self) -> None:
        """Unpack the image into a temporary folder."""
        from sifmake.runtime.rootfs import unpack

        self.folder = f"{self.temporary()}/root"
        unpack(self.image, self.folder)

    def temporary(self) -> str:
        """Return the path of this run's temporary folder."""
        from sifmake.runtime.scratch import Scratch

        self.scratch = self.scratch or Scratch()
        return self.scratch.path

    def helpers(self) -> frozenset[int]:
        """Return the processes that must outlive all others."""
        return frozenset(self.fuse.helpers()) if self.fuse else frozenset()

    def inherit(self) -> None:
        """Take over what the process in the foreground has begun, for it has gone."""
        for part in (self.fuse, self.scratch):
            if part:
                part.owner = os.getpid()

    def end(self) -> None:
        """End squashfuse and remove temporary folders, as far as they are this process's."""
        if self.fuse and self.fuse.owner == os.getpid():
            self.fuse.end()
        if self.scratch and self.scratch.owner == os.getpid():
            self.scratch.remove()
