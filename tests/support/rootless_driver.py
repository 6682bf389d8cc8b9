"""Runs scripts for tests, as whoever started it: a JSON line with options comes in, a line with the result goes out."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from pathlib import Path

from sifmake.errors import SifmakeError
from sifmake.layers.entry import Entry
from sifmake.layers.pack_reader import open_pack
from sifmake.rootless import interpreter
from sifmake.rootless.modes import choose_mode
from sifmake.rootless.post import run_post
from sifmake.rootless.request import Mode, PostBind, PostRequest
from sifmake.rootless.tree_check import TreeCheck
from sifmake.rootless.unpacking import remove_tree, unpack

KINDS = ["?", "dir", "file", "link", "block", "char", "fifo", "socket", "hard", "whiteout", "opaque"]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def unpack_pack(pack_file: str, place: Path, mode: Mode) -> None:
    """Unpack a pack whose entries are in the order of a tree."""
    with open_pack(Path(pack_file)) as pack:
        entries = pack.entries()
        contents = pack.contents

        def read(entry):
            return [pack.read_content(contents[entry.content], 1 << 30)]

        unpack(((entry.path, entry) for entry in entries), read, place, mode)


def entry_row(entry, content):
    data = b"".join(content)
    return {
        "path": entry.path.decode("utf-8", "surrogateescape"),
        "kind": KINDS[entry.kind],
        "mode": entry.mode,
        "owner": [entry.uid, entry.gid],
        "mtime": entry.mtime,
        "device": [entry.major, entry.minor],
        "target": entry.target.decode(),
        "text": data[:200].decode("latin-1"),
        "sha256": hashlib.sha256(data).hexdigest(),
        "xattrs": {name.decode(): value.hex() for name, value in entry.xattrs},
    }


def entries_of(rows):
    """Return entries with short contents, and what gives these."""
    texts = {}
    entries = []
    for row in rows:
        size = len(row["text"])
        names = row["path"].encode(), KINDS.index(row["kind"]), row["mode"], *row["owner"], row["mtime"], size
        entries.append(Entry(*names, target=row["target"].encode()))
        texts[entries[-1].path] = row["text"].encode("latin-1")
    return [(entry.path, entry) for entry in entries], lambda entry: [texts[entry.path]]


def run(folder: Path, lowers: list[str], options: dict) -> dict:
    """Run one script."""
    output: list[bytes] = []
    began = time.monotonic()
    first: list[float] = []

    def take(data: bytes) -> None:
        first.append(time.monotonic() - began)
        output.append(data)

    options["script"] = options["script"].encode()
    options["binds"] = tuple(PostBind(Path(source), target, ro) for source, target, ro in options.get("binds", ()))
    options["secrets"] = {name: value.encode() for name, value in options.get("secrets", {}).items()}
    options["snapshot"] = options.get("snapshot", "").encode()
    tar = options.pop("tar", None)
    closed = options.pop("closed", False)
    environment = ENVIRONMENT | options.pop("environment", {})
    request = PostRequest(
        lowers=tuple(map(Path, lowers)), scratch=folder, output=take, environment=environment, **options
    )
    # The keeper is another interpreter: what it is to believe of the machine goes with its program.
    program = interpreter._PROGRAM
    if closed:
        lie = "from sifmake.rootless import supervision; supervision._memory_is_closed = lambda: True; "
        interpreter._PROGRAM = program.replace("from {module}", lie + "from {module}")
    try:
        return run_request(request, tar, output, first)
    finally:
        interpreter._PROGRAM = program


def run_request(request, tar, output, first) -> dict:
    with run_post(request) as result:
        answer = {name: getattr(result, name) for name in ("status", "line", "command", "reached_end", "faked", "full")}
        answer |= {"kept": str(result.kept) if result.kept else None}
        answer |= {"labels": result.labels.decode(), "snapshot": result.snapshot.decode()}
        if tar:
            Path(tar).write_bytes(b"".join(result.layer()))
        else:
            answer["layer"] = [entry_row(entry, content) for entry, content in result.changes()]
    answer["output"] = b"".join(output).decode("utf-8", "surrogateescape")
    answer["began"] = first[0] if first else None
    return answer


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder, wanted, pack = Path(sys.argv[1]), Mode(sys.argv[2]), sys.argv[3]
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["do"] == "choose":
                answer = {"mode": choose_mode(folder).mode.value}
            elif job["do"] == "unpack":
                unpack_pack(job.get("pack", pack), folder / job["place"], wanted)
                answer = {}
            elif job["do"] == "stack":
                unpack(*entries_of(job["rows"]), folder / job["place"], wanted)
                answer = {}
            elif job["do"] == "check":
                with TreeCheck([folder / place for place in job["places"]], wanted) as check:
                    answer = {"changed": [place.name for place in check.changed()]}
            elif job["do"] == "remove":
                remove_tree(folder / job["place"], wanted)
                answer = {}
            else:
                answer = run(folder, job["lowers"], {"mode": wanted} | job["options"])
        except SifmakeError as error:
            answer = {"error": str(error)}
        except KeyboardInterrupt:
            answer = {"error": "interrupted"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
