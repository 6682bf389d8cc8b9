"""Make the image's files readable for one run: mounted by the kernel, by FUSE, or unpacked; removed after the run."""

from __future__ import annotations

import os

from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import guard_devices, mount_points, own_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.caller import Caller
    from sifmake.runtime.fuse import FuseMount
    from sifmake.runtime.image import OpenImage
    from sifmake.runtime.request import Request
    from sifmake.runtime.scratch import Scratch


class ImageMount:
    """The mount of an image.

    ``sifmake`` enters the namespaces, mounts, and only then starts the keeper, which gets ready while squashfuse does.
    If all three processes started at once, two would share a processor. Each process ends what it has started.

    Attributes:
        nested: Whether this process is root in a new user namespace.
        outside: Whether it is in no new namespace, because none is allowed.
        point: Mount point in the namespace.
        cover: A folder that a writable layer can cover; empty if there is none.
        folder: The image's files, after :meth:`settle`.
        by_kernel: Whether the kernel has mounted it.
        by_fuse: Whether squashfuse serves it, or will soon; that process can read while this one continues.
    """

    def __init__(self, request: Request, image: OpenImage, caller: Caller) -> None:
        self.request = request
        self.image = image
        self.caller = caller
        self.nested = False
        self.outside = False
        self.by_kernel = self.by_fuse = False
        self.point = self.cover = self.folder = ""
        self.fuse: FuseMount | None = None
        self.scratch: Scratch | None = None

    def enter(self, bwrap: str) -> None:
        """Enter namespaces.

        Raises:
            RunError: No namespace is allowed, and bwrap cannot work without one.
        """
        try:
            self.nested = own_namespace(self.caller.uid, self.caller.gid, user=self.request.userns)
        except OSError as error:
            from sifmake.runtime.scratch import Scratch
            from sifmake.runtime.setuid_fallback import check_bwrap

            check_bwrap(bwrap, error.strerror or str(error))
            self.outside, self.scratch = True, Scratch()
        else:
            binds = (bind.source for bind in self.request.binds)
            sources = [*binds, self.request.workdir or "/", self.image.folder or "/"]
            self.point, self.cover = mount_points([self.caller.cwd, self.caller.home, *sources])
            if self.request.no_privs and self.caller.uid == 0:
                guard_devices()

    def begin(self) -> None:
        """Mount the image with the kernel, or start to mount it with squashfuse."""
        if self.image.folder or self.outside or self.request.unpack is True:
            return
        self.by_kernel = not self.nested and self.loop()
        self.by_fuse = not self.by_kernel and self.serve()

    def warm(self) -> None:
        """Read the program ahead if the kernel mounted the image, because it decompresses in the reading process."""
        if self.by_kernel:
            from sifmake.runtime.readahead import warm

            warm(self.request, self.point)

    def loop(self) -> bool:
        """Mount the image with the kernel; return whether that worked."""
        from sifmake.runtime.loop import mount_loop

        try:
            mount_loop(self.image, self.point)
        except OSError:
            return False
        return True

    def serve(self) -> bool:
        """Start to mount the image with squashfuse; return whether that is possible."""
        self.fuse = self.squashfuse()
        try:
            if self.fuse:
                self.fuse.serve(everybody=not self.nested)
        except OSError:
            self.fuse = None
        return self.fuse is not None

    def squashfuse(self) -> FuseMount | None:
        """Return a mount that squashfuse can make in this namespace; None if it cannot."""
        from sifmake.runtime.fuse import FuseMount, fuse_program

        # To change a file in the writable layer, the user must be its owner, because no other user is in the namespace.
        owned = self.nested and self.request.writable_tmpfs
        program = fuse_program(owned=owned)
        return FuseMount(program, self.image, self.point, ",uid=0,gid=0" if owned else "") if program else None

    def settle(self) -> None:
        """Wait until the image can be read; if it cannot be mounted, unpack it."""
        if self.image.folder:
            self.folder = self.image.folder
            return
        try:
            if self.outside and self.request.unpack is not True:
                self.mount_outside()
            elif self.by_fuse:
                self.await_fuse()
            elif self.by_kernel:
                self.folder = self.point
        except RunError:
            self.fuse = None
        if not self.folder:
            self.unpack()

    def await_fuse(self) -> None:
        """Wait until squashfuse answers; if it cannot serve an open mount (old libfuse), it makes the mount itself."""
        try:
            os.stat(self.point)
        except OSError:
            from sifmake.runtime.system import unmount

            unmount(self.point)
            self.fuse = self.squashfuse()
            if not self.fuse:
                return
            self.fuse.mount(everybody=not self.nested)
        self.folder = self.point

    def mount_outside(self) -> None:
        """Have squashfuse mount the image on a folder of the host, if users can do that."""
        from sifmake.runtime.setuid_fallback import outside_mount

        self.fuse = outside_mount(self.image, self.temporary())
        if self.fuse:
            self.fuse.mount(everybody=False)
            self.folder = self.fuse.folder

    def unpack(self) -> None:
        """Unpack the image into a temporary folder."""
        from sifmake.runtime.rootfs import unpack

        if self.request.unpack is False:
            raise RunError(
                "the image cannot be mounted, and may not be unpacked",
                hint="install squashfuse (and let users open /dev/fuse), or leave out --no-tmp-sandbox",
            )
        self.folder = f"{self.temporary()}/root"
        try:
            unpack(self.image, self.folder)
        except RunError as error:
            error.what = error.what.replace(self.image.name, "it")
            raise error.within(self.request.sif) from None

    def temporary(self) -> str:
        """Return the path of this run's temporary folder."""
        from sifmake.runtime.scratch import Scratch

        self.scratch = self.scratch or Scratch()
        return self.scratch.path

    def helpers(self) -> frozenset[int]:
        """Return the processes that must outlive all others."""
        return frozenset(self.fuse.helpers() if self.fuse else ())

    def dismiss(self) -> None:
        """End squashfuse, for which the foreground process waits, because the image is no longer needed."""
        if self.by_fuse and self.fuse:
            self.fuse.dismiss()

    def inherit(self) -> None:
        """Take over the folder of the foreground process, which has ended together with squashfuse."""
        if self.scratch:
            self.scratch.owner = os.getpid()

    def end(self) -> None:
        """End squashfuse and remove temporary folders, if they belong to this process."""
        if self.fuse and self.fuse.owner == os.getpid():
            self.fuse.end()
        if self.scratch and self.scratch.owner == os.getpid():
            self.scratch.remove()
