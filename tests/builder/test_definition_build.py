"""Builds from definition files: what runs, what is found, and what is left when something fails."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

import sifmake
from sifmake.builder.build_request import StepSettings
from sifmake.builder.step_runner import StepRunner
from sifmake.builder.step_trees import remove_unpacked
from sifmake.definition.host_folder import HostFolder
from sifmake.errors import LayerError, LimitError, SourceError, StepError, UsageError
from sifmake.progress import Silent
from sifmake.rootless import modes
from sifmake.rootless.errors import RootlessError
from sifmake.steps.unpacked_trees import DAY
from sifmake.store.packs import StoredPacks
from support.building import Works, base_blobs, needs_scripts, root_tar
from support.counting_registry import CountingRegistry
from support.definition_golden import text_in, tree_of
from support.layers import file, tar
from support.messages import Messages

POST = "%post\n    echo ran >> /log\n    cat /data.txt > /copy 2>/dev/null || true\n"


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


@pytest.fixture(autouse=True)
def _store(works, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(works.folder))
    monkeypatch.chdir(works.folder)


def counts(image):
    return image.steps_run, image.steps_cached


@needs_scripts
def test_an_unchanged_build_runs_nothing_and_gives_the_same_bytes(works):
    assert counts(works.build(POST)) == (1, 0)
    first = (works.folder / "out.sif").read_bytes()
    assert counts(works.build(POST)) == (0, 1)
    assert (works.folder / "out.sif").read_bytes() == first
    assert counts(works.build(POST, cache_steps=False)) == (1, 0)
    assert (works.folder / "out.sif").read_bytes() == first


@needs_scripts
def test_texts_in_any_encoding_name_steps_and_trees(works):
    definition = works.folder / "latin.def"
    header = f"Bootstrap: oci\nFrom: {works.folder / 'base'}\n".encode()
    definition.write_bytes(header + b"%post\n    echo caf\xe9 > /x\n%test\n    : \xff; grep -q caf /x\n")
    for ran in (1, 0):
        assert sifmake.build(definition, works.folder / "latin.sif", force=True).steps_run == ran
    archive = works.folder / os.fsdecode(b"caf\xe9.tar")
    archive.write_bytes(root_tar("etc", "etc/x=1"))
    assert "/etc/x" in tree_of(sifmake.build(str(archive), works.folder / "latin.sif", force=True).path)


@needs_scripts
def test_an_unchanged_build_asks_a_registry_once(works):
    blobs, manifest = base_blobs()
    with CountingRegistry(blobs) as registry:
        registry.tags["app:1"] = manifest
        definition = works.folder / "remote.def"
        definition.write_text(f"Bootstrap: docker\nFrom: {registry.host}/app:1\n\n{POST}")
        for _ in range(2):
            sifmake.build(definition, "remote.sif", force=True, plain_http=True)
        registry.forget()
        again = sifmake.build(definition, "remote.sif", force=True, plain_http=True)
        assert registry.counts() == {"HEAD manifest": 1}
    assert counts(again) == (0, 1)


@needs_scripts
def test_a_machine_that_reads_the_store_of_another_runs_nothing(works, monkeypatch):
    works.build(POST)
    good = (works.folder / "out.sif").read_bytes()
    monkeypatch.setenv("SIFMAKE_READONLY_CACHE", str(works.folder / "store"))
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "elsewhere"))
    assert counts(works.build(POST)) == (0, 1)
    assert (works.folder / "out.sif").read_bytes() == good


@needs_scripts
@pytest.mark.parametrize("section", ["environment", "labels", "runscript", "help", "test", "startscript"])
def test_a_changed_metadata_section_runs_nothing(works, section):
    works.build(POST)
    assert counts(works.build(f"%{section}\n    true value\n\n{POST}")) == (0, 1)


@needs_scripts
def test_a_changed_file_runs_what_comes_after_it(works):
    source = works.folder / "data.txt"
    source.write_text("one")
    definition = f"%files\n    {source} /data.txt\n\n{POST}"
    assert counts(works.build(definition)) == (1, 0)
    os.utime(source, (1, 1))
    assert counts(works.build(definition)) == (0, 1)
    source.write_text("two")
    assert counts(works.build(definition)) == (1, 0)
    assert text_in(works.folder / "out.sif", "/copy") == "two"


def test_a_file_that_cannot_be_read_after_all_is_named_with_its_line(works, monkeypatch):
    def read(_, file):
        raise SourceError(f"{file.path.decode()}: it has changed")

    monkeypatch.setattr(HostFolder, "read", read)
    (works.folder / "changing").write_text("x")
    with pytest.raises(SourceError, match=r"tool\.def:5: .*changing"):
        works.build("%files\n    changing /c\n", "other.sif")


@needs_scripts
def test_steps_are_found_one_by_one_and_hand_on_the_state_of_the_shell(works):
    text = '%post\n    A=$(echo 1)\n    cd /etc\n    umask 077\n# sifmake: step\n    echo "$A $PWD" > /state{}\n'
    assert counts(works.build(text.format(""))) == (2, 0)
    assert text_in(works.folder / "out.sif", "/state") == "1 /etc\n"
    assert tree_of(works.folder / "out.sif")["/state"]["mode"] == "0o600"
    assert counts(works.build(text.format("2"))) == (1, 1)
    assert text_in(works.folder / "out.sif", "/state2") == "1 /etc\n"


@needs_scripts
def test_a_shell_that_post_names_hands_on_its_state(works):
    works.build('%post -c /bin/ash -e\n    A=one\n# sifmake: step\n    echo "$A" > /state\n')
    assert text_in(works.folder / "out.sif", "/state") == "one\n"


@needs_scripts
def test_a_function_from_a_file_is_missed_by_name(works):
    text = "%post\n    echo 'greet() { true; }' > /file\n    . /file\n# sifmake: step\n    greet\n"
    with pytest.raises(StepError, match=r"tool\.def:8: %post: .* exit status 1"):
        works.build(text)
    assert b"the function or alias greet of an earlier step does not carry over" in works.output
    works.build(text.replace("    greet", "    . /file\n    greet"))


@needs_scripts
def test_two_definitions_on_one_base_share_a_step(works):
    works.build(POST)
    assert counts(works.build(POST + "\n%labels\n    A b\n", "other.sif")) == (0, 1)


@needs_scripts
def test_labels_of_post_are_found_again_with_the_layer(works):
    text = '%post\n    echo "From post" >> "$APPTAINER_LABELS"\n'
    assert counts(works.build(text)) == (1, 0)
    assert counts(works.build(text)) == (0, 1)
    assert sifmake.inspect(works.folder / "out.sif").labels["From"] == "post"


@needs_scripts
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("%post\n    echo before\n    false\n    echo after\n", r"tool\.def:6: %post: .* exit status 1"),
        ("%post\n    exit 7\n", "exit status 7"),
        ("%post\n    true\n# sifmake: step\n\n    false\n", "tool.def:8: %post"),
    ],
)
def test_a_failing_script_is_named_and_leaves_nothing(works, text, what):
    works.build("%post\n    true\n")
    target = works.folder / "out.sif"
    target.write_bytes(b"old")
    before = sorted(path.name for path in works.folder.iterdir())
    place = works.folder / f"sifmake-{os.geteuid()}"
    logs = set((place / "logs").iterdir())
    with pytest.raises(StepError, match=what) as raised:
        works.build(text)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in works.folder.iterdir()) == before
    assert not list((place / "runs").iterdir())
    (log,) = set((place / "logs").iterdir()) - logs
    assert str(log) in str(raised.value)
    assert log.read_bytes() in works.output
    log.unlink()


@needs_scripts
def test_what_a_profile_cleans_is_in_no_layer(works):
    text = "%post\n    mkdir -p /var/lib/apt/lists/x /opt/p/__pycache__\n    touch /var/lib/apt/lists/x/y /opt/p/z\n"
    assert counts(works.build(text)) == (1, 0)
    assert {"/var/lib/apt/lists/x/y", "/opt/p/__pycache__"} <= tree_of(works.folder / "out.sif").keys()
    assert counts(works.build(text, clean=["apt", "pip"])) == (1, 0)
    left = tree_of(works.folder / "out.sif").keys()
    assert {"/var/lib/apt/lists", "/opt/p/z"} <= left
    assert not {"/var/lib/apt/lists/x", "/opt/p/__pycache__"} & left
    with pytest.raises(UsageError, match="no profile 'yum'"):
        works.build(text, clean=["yum"])


@needs_scripts
def test_the_tree_of_a_failed_step_stays_where_it_is_asked_for(works):
    with pytest.raises(StepError, match=r"chroot (\S+) /bin/sh") as raised:
        works.build("%post\n    echo mine > /mine\n    false\n", keep_failed=True)
    kept = re.search(r"chroot (\S+) /bin/sh", str(raised.value))[1]
    assert (Path(kept) / "mine").read_text() == "mine\n"
    shutil.rmtree(kept)


@needs_scripts
@pytest.mark.parametrize("where", ["> /leaked", "> /etc/a.conf; chmod 600 /etc/a.conf", '>> "$APPTAINER_LABELS"'])
def test_a_secret_that_is_left_fails_the_build(works, where):
    secrets = {"token": b"s3cr3t-value\n"}
    with pytest.raises(StepError, match="secret 'token' in"):
        works.build(f"%post\n    cat /run/secrets/token {where}\n", secrets=secrets)
    assert not any(b"s3cr3t-value" in path.read_bytes() for path in works.folder.glob("store/steps/*/*"))


@needs_scripts
def test_a_layer_with_a_secret_never_gets_a_name(works, monkeypatch):
    named = []
    monkeypatch.setattr(StoredPacks, "place", lambda _, name, key: named.append((name, key)))
    with pytest.raises(StepError, match="secret 'token' in /leaked"):
        works.build("%post\n    cp /run/secrets/token /leaked\n", secrets={"token": b"s3cr3t-value" * 9})
    assert not named
    assert not list(works.folder.glob("store/tmp/*layer*"))


@needs_scripts
@pytest.mark.parametrize(
    ("script", "error", "what"),
    [
        ("cp /run/secrets/t /a; head -c 9000000 /dev/zero > /z", StepError, "left the secret 't' in /a"),
        ("truncate -s 999G /a", LimitError, "/a: the layer is larger than"),
    ],
)
def test_a_layer_that_is_given_up_does_not_hang(works, script, error, what):
    with pytest.raises(error, match=what):
        works.build(f"%post\n    {script}\n", secrets={"t": b"s3cr3t-value"})


@needs_scripts
def test_a_secret_in_a_line_without_end_is_masked(works):
    secret = b"0123456789abcdefghijklmnopqrstuvwxyz"
    text = "%post\n    set +x\n    head -c 65520 /dev/zero | tr '\\000' x\n    cat /run/secrets/t\n"
    works.build(text + "    head -c 100 /dev/zero | tr '\\000' y\n", secrets={"t": secret})
    assert b"x***y" in works.output


@needs_scripts
def test_a_secret_is_masked_and_its_value_is_in_no_key(works):
    text = '%post\n    T=$(cat /run/secrets/token)\n    echo "$T" | wc -c > /size\n    echo "value $T"\n    unset T\n'
    assert counts(works.build(text, secrets={"token": b"s3cr3t-value"})) == (1, 0)
    assert b"s3cr3t" not in works.output
    assert b"value ***" in works.output
    assert counts(works.build(text, secrets={"token": b"another-one-0"})) == (0, 1)


@needs_scripts
def test_a_secret_is_masked_in_the_log_of_a_failed_step(works):
    with pytest.raises(StepError) as failed:
        works.build("%post\n    echo it is $(cat /run/secrets/t)\n    exit 3\n", secrets={"t": b"s3cr3t-value"})
    log = Path(failed.value.hint.partition(" is in ")[2])
    assert b"it is ***" in log.read_bytes()
    assert b"s3cr3t" not in log.read_bytes()


@needs_scripts
def test_a_failing_test_keeps_the_old_file(works):
    target = works.folder / "out.sif"
    target.write_bytes(b"old")
    with pytest.raises(StepError, match=r"tool\.def:4: %test: the test ended with exit status 3"):
        works.build("%test\n    exit 3\n")
    assert target.read_bytes() == b"old"
    works.build("%test\n    exit 3\n", test=False)
    assert target.read_bytes() != b"old"


@needs_scripts
def test_a_test_that_passed_runs_again_only_when_something_has_changed(works):
    def ran(text, **options):
        works.build(text, **options)
        return b"tested" in works.output

    assert ran("%test\n    echo tested\n")
    assert not ran("%test\n    echo tested\n")
    assert ran("%test\n    echo tested\n", cache_steps=False)
    assert ran("%test\n    echo tested\n", network="host")
    assert ran("%test\n    echo tested; true\n")
    for _ in range(2):
        with pytest.raises(StepError):
            works.build("%test\n    exit 3\n")


@needs_scripts
def test_a_sandbox_is_tested_before_it_replaces_the_old_one(works):
    works.build("%labels\n    A b\n", "tested", sandbox=True)
    with pytest.raises(StepError, match=r"tool\.def:4: %test"):
        works.build("%test\n    exit 3\n", "tested", sandbox=True)
    assert sifmake.inspect(works.folder / "tested").labels["A"] == "b"
    assert not [path.name for path in works.folder.iterdir() if "tested" in path.name and path.name != "tested"]


HARMLESS = """
%test
    set +e
    PATH=/bin
    chmod 666 /dev/null && echo changed a device
    for file in /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do
        if [ -e $file ] && { true >> $file; } 2>/dev/null; then echo can write $file; fi
    done
    mount -t tmpfs x /tmp && echo mounted
    mknod /tmp/null c 1 3 && echo made a device
    ls /sys/class/net /sys/devices/virtual/net | grep -v :
    { true < /dev/tty; } 2>/dev/null && echo has the terminal
    env | grep -i pass
    echo end
"""


@needs_scripts
def test_a_test_changes_nothing_of_the_host_and_sees_no_network(works, monkeypatch):
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "pass")
    monkeypatch.setenv("APPTAINERENV_PASS", "pass")
    works.build(HARMLESS)
    said = [line for line in works.output.decode().splitlines() if not line.startswith(("chmod", "mount", "mknod"))]
    assert [line for line in said if line] == ["end"]


@needs_scripts
def test_host_sections_run_only_where_they_are_allowed(works, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://u:p4ssw0rd@localhost:9")
    text = f"%pre\n    echo $http_proxy > {works.folder}/marked\n\n%setup\n    echo set > $APPTAINER_ROOTFS/set\n"
    with pytest.raises(UsageError, match=r"tool\.def:4: %pre runs commands on this machine.*--allow-host-sections"):
        works.build(text)
    assert not (works.folder / "marked").exists()
    monkeypatch.setenv("SIFMAKE_ALLOW_HOST_SECTIONS", "1")
    works.build(text)
    assert (works.folder / "marked").exists()
    assert b"http://u:***@localhost:9" in works.output
    assert text_in(works.folder / "out.sif", "/set") == "set\n"


def test_a_folder_and_an_archive_give_the_same_image(works):
    raw = root_tar("bin", "etc", "etc/motd=hello")
    (works.folder / "root.tar").write_bytes(raw)
    sifmake.build("root.tar", "tar.sif")
    sifmake.build("tar.sif", "box", sandbox=True)
    assert (works.folder / "box/etc/motd").read_text() == "hello"
    sifmake.build("box", "again.sif")
    first, second = tree_of(works.folder / "tar.sif"), tree_of(works.folder / "again.sif")
    differing = {path for path in first if first[path] != second.get(path)}
    assert (
        differing
        == {"/.singularity.d/Singularity", "/.singularity.d/labels.json"}
        | {path for path in second if "bootstrap_history" in path} & first.keys()
    )


def test_holes_of_an_archive_cost_no_time(works):
    """Half a kilobyte that says it is a file of 256 GiB."""
    size = 1 << 38
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": str(size)}
    (works.folder / "holes.tar").write_bytes(
        tar(file("x", f"1\n{size}\n0\n".encode().ljust(512, b"\0"), pax_headers=pax))
    )
    with pytest.raises(LayerError, match=r"holes.tar: f: .*more than .* bytes"):
        sifmake.build("holes.tar", "holes.sif")


def test_a_bundle_hands_on_its_process(works):
    bundle = works.folder / "bundle"
    (bundle / "rootfs/etc").mkdir(parents=True)
    process = {"args": ["echo", "it's"], "env": ["A=b"], "cwd": "/etc", "user": {"uid": 5, "gid": 6}}
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, "process": process}))
    sif = sifmake.build(f"bundle:{bundle}", "bundle.sif")
    with sifmake.open_sif(sif) as opened:
        config = json.loads(opened.read(opened.find(name="oci-config.json")[0]))
    assert config == {"Cmd": ["echo", "it's"], "Env": ["A=b"], "User": "5:6", "WorkingDir": "/etc"}
    assert sifmake.inspect(sif).definition == "bootstrap: bundle\nfrom: bundle"


@needs_scripts
def test_a_sandbox_is_inspected_and_run_as_the_file_is(works):
    text = "%environment\n export A=b\n%labels\n L v\n%help\n text\n%apprun one\n true\n%test\n [ $A = b ]\n"
    sif = works.build(text)
    box = works.build(text, "run-box", sandbox=True)
    assert sifmake.inspect(box).attributes == sifmake.inspect(sif).attributes
    assert sifmake.inspect(box, only=["labels"]).labels["L"] == "v"
    options = ["--runtime", "builtin"]
    words = ["sh", "-c", 'echo "$A"; touch /x 2>/dev/null || echo kept']
    done = sifmake.execute(box, words, options=options, capture_output=True, text=True, check=True)
    assert done.stdout == "b\nkept\n"
    sifmake.execute(box, action="test", options=options, check=True)
    with pytest.raises(sifmake.SifmakeError, match="not a sandbox"):
        sifmake.inspect(works.folder)


def test_a_test_that_nobody_could_find_is_refused(works):
    (works.folder / "hostile.tar").write_bytes(root_tar("tmp", ".singularity.d->../../../tmp/x"))
    with pytest.raises(StepError, match=r"tool\.def:4: %test: /\.singularity\.d of the base is a link to /tmp/x, "):
        works.build("%test\n    exit 3\n", base="localimage", name="hostile.tar")


def test_without_namespaces_nothing_is_fetched_in_vain(works, monkeypatch):
    def refuse(_):
        raise RootlessError("scripts cannot run as root here", hint="ask an administrator")

    monkeypatch.setattr(modes, "choose_mode", refuse)
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "empty"))
    blobs, manifest = base_blobs()
    definition = works.folder / "remote.def"
    with CountingRegistry(blobs) as registry:
        registry.tags["app:1"] = manifest
        definition.write_text(f"Bootstrap: docker\nFrom: {registry.host}/app:1\n\n{POST}")

        def refused(**options):
            with pytest.raises(RootlessError, match="ask an administrator"):
                sifmake.build(definition, "remote.sif", force=True, plain_http=True, **options)
            return registry.counts()

        assert refused() == {}
        (works.folder / "empty/steps/aa").mkdir(parents=True)  # perhaps a step is there, and nothing has to run
        assert refused(cache_steps=False) == {}
        assert refused()["GET blob"] == 1  # the config
        definition.write_text(f"Bootstrap: docker\nFrom: {registry.host}/app:1\n\n%labels\n    A b\n")
        sifmake.build(definition, "remote.sif", force=True, plain_http=True)
        assert registry.counts()["GET blob"] == 2


@needs_scripts
@pytest.mark.parametrize("place", ["/proc", "/", "/.post.script", "/dev", "/dev/null"])
def test_a_bind_that_cannot_be_is_named(works, place):
    """The shell writes to /dev/null, and would so overwrite a file of the host."""
    source = works.folder / "base/index.json"
    before = source.read_bytes()
    with pytest.raises(RootlessError, match=rf"%post: {source} cannot be bound to {place}: ") as failed:
        works.build("%post\n    true\n", binds=[f"{source}:{place}"])
    assert "run-" not in str(failed.value)
    assert source.read_bytes() == before


@needs_scripts
def test_what_is_in_the_way_is_named_as_in_the_image(works):
    (works.folder / "hostile.tar").write_bytes(root_tar(".post.script"))
    with pytest.raises(RootlessError, match=r"%post: /\.post\.script in the image: "):
        works.build("%post\n    true\n", base="localimage", name="hostile.tar")


@needs_scripts
def test_an_interrupted_step_keeps_its_log_and_says_where(works):
    def interrupt(_):
        raise KeyboardInterrupt

    definition = works.folder / "tool.def"
    definition.write_text(f"Bootstrap: oci\nFrom: {works.folder}/base\n\n%post\n    echo before; sleep 60\n")
    told = Messages()
    with pytest.raises(KeyboardInterrupt):
        sifmake.build(definition, works.folder / "interrupted.sif", output=interrupt, progress=told)
    log = Path(told.infos[-1].partition("the output of the interrupted step is in ")[2])
    assert b"before" in log.read_bytes()
    assert not list((log.parent.parent / "runs").iterdir())


@pytest.mark.parametrize("fails", [False, True])
def test_neither_another_build_of_the_step_nor_a_clean_store_takes_its_log(tmp_path, fails):
    runner = StepRunner(StepSettings(tmpdir=tmp_path), None, Silent())

    def run():
        with runner.logged("k" * 64, lambda _: None) as (log, write):
            write(b"one\n")
            with runner.logged("k" * 64, lambda _: None) as (_, other):  # it has a store of its own
                other(b"two\n")
            if not fails:
                runner.trees.remove_unused(-1, shutil.rmtree)
                return log
            raise StepError(str(log))

    try:
        log = run()
    except StepError as error:
        log = Path(error.what)
        assert log.read_bytes() == b"one\n"
    assert list(log.parent.iterdir()) == [log] * fails


@needs_scripts
def test_a_script_that_did_not_start_leaves_no_log(works):
    logs = works.folder / f"sifmake-{os.geteuid()}/logs"
    before = set(logs.iterdir()) if logs.is_dir() else set()
    (works.folder / "hostile.tar").write_bytes(root_tar("etc"))
    with pytest.raises(RootlessError):
        works.build("%post\n    true\n", base="localimage", name="hostile.tar")
    assert set(logs.iterdir()) == before


def test_only_a_sandbox_is_replaced(works):
    (works.folder / "plain").mkdir()
    (works.folder / "plain/mine").touch()
    (works.folder / "r.tar").write_bytes(root_tar("etc"))
    with pytest.raises(sifmake.SifmakeError, match="already exists"):
        sifmake.build("r.tar", "plain", sandbox=True)
    with pytest.raises(sifmake.SifmakeError, match="not a sandbox"):
        sifmake.build("r.tar", "plain", sandbox=True, force=True)
    assert (works.folder / "plain/mine").exists()
    (works.folder / "plain/.singularity.d").symlink_to("/etc")
    with pytest.raises(sifmake.SifmakeError, match="not a sandbox"):
        sifmake.build("r.tar", "plain", sandbox=True, force=True)
    sifmake.build("r.tar", "boxed", sandbox=True)
    (works.folder / "boxed/etc/old").touch()
    sifmake.build("r.tar", "boxed", sandbox=True, force=True)
    assert not (works.folder / "boxed/etc/old").exists()


def test_an_argument_that_nothing_asks_for_is_an_error(works):
    with pytest.raises(UsageError, match="uses the build argument X"):
        works.build("%labels\n    A b\n", build_args={"X": "1"})
    works.build("%labels\n    A {{ X }}\n", build_args={"X": "1"})
    assert sifmake.inspect(works.folder / "out.sif").labels["A"] == "1"


@needs_scripts
def test_gc_removes_what_a_killed_build_has_left(works):
    works.build("%post\n    true\n")
    runs = works.folder / f"sifmake-{os.geteuid()}" / "runs"
    (runs / "dead/run-x/upper").mkdir(parents=True)
    (runs / "dead.use").touch()
    remove_unpacked(DAY)
    assert list(runs.iterdir()) == []


@needs_scripts
def test_a_build_that_runs_nothing_removes_what_a_killed_one_has_left(works):
    works.build(POST)
    runs = works.folder / f"sifmake-{os.geteuid()}" / "runs"
    (runs / "dead/run-x/upper").mkdir(parents=True)
    (runs / "dead.use").touch()
    assert counts(works.build(POST)) == (0, 1)
    assert list(runs.iterdir()) == []
