"""What a script sees and what it leaves, as root, as a user with further ids, and as a user with nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.rootless import NEEDS_ROOTLESS

pytestmark = NEEDS_ROOTLESS
EPOCH = 1_700_000_000


def test_the_best_mode_is_chosen(builder):
    assert builder.do(do="choose").mode == builder.mode


def test_a_script_is_root_in_namespaces_of_its_own(builder):
    done = builder.run(
        "id -u; pwd; umask; hostname; set -- /proc/[0-9]*; echo $#; echo $0 $-; ls -A /tmp /var/tmp; env"
    )
    assert done.status == 0
    traced, printed = [
        [line for line in done.output.splitlines() if (line[:2] == "+ ") == kind] for kind in (True, False)
    ]
    assert traced[0] == "+ id -u"
    assert printed[:5] == ["0", "/", "0002", "localhost", "2"]  # the first process and the shell
    assert printed[5].startswith("/.post.script")
    assert {"x", "e"} <= set(printed[5].split()[1])
    assert printed[6:9] == ["/tmp:", "", "/var/tmp:"]
    assert sorted(printed[9:]) == ["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/", "SHLVL=1"]


def test_the_layer_has_what_was_changed_and_nothing_else(builder):
    script = """
    echo x > /etc/new; ln /etc/new /etc/new2; ln -s foo /etc/link; mkfifo /p; nc -l -U /socket & sleep 0.1
    rm /bin/yes; mv /etc/network /etc/net2; chmod 4755 /bin/busybox
    rm -r /usr/sbin /var/spool; mkdir /var/spool /usr/sbin; touch /tmp/leak /var/tmp/leak; mkdir -p /root/deep
    touch -d @5 /etc/old; chmod 1777 /root
    """
    done = builder.run(script, epoch=EPOCH)
    assert done.status == 0
    found = {path: row.kind for path, row in done.layer.items()}
    assert {path: kind for path, kind in found.items() if not path.startswith("etc/net2/")} == {
        "bin": "dir", "bin/busybox": "file", "bin/yes": "whiteout",
        "etc": "dir", "etc/link": "link", "etc/net2": "dir", "etc/network": "whiteout", "etc/new": "file",
        "etc/new2": "hard", "etc/old": "file", "p": "fifo", "root": "dir", "root/deep": "dir", "usr": "dir",
        "usr/sbin": "opaque", "var": "dir", "var/spool": "opaque",
    }  # fmt: skip
    assert done.names == sorted(done.names, key=lambda path: path.split("/"))
    assert (done.layer["bin/busybox"].mode, done.layer["root"].mode) == (0o4755, 0o1777)
    assert (done.layer["etc/new"].mode, done.layer["etc/new"].text) == (0o664, "x\n")
    assert done.layer["etc/new2"].target == "etc/new"
    assert {row.mtime for row in done.layer.values()} == {0, 5, EPOCH}
    assert builder.left() == []


def test_a_script_that_changes_nothing_has_an_empty_layer(anyone):
    assert anyone.run("touch /tmp/x; ls / >/dev/null").names == []


def test_a_failing_line_is_named(anyone):
    done = anyone.run("true\nif true; then\n  cd /etc\n  false\nfi\necho no\n")
    assert (done.status, done.line, done.command) == (1, 4, "false")
    assert done.output == "+ true\n+ true\n+ cd /etc\n+ false\n"


def test_processes_that_are_left_end_with_the_script(builder):
    done = builder.run("setsid sleep 77777 & (trap '' TERM HUP; sleep 77777) & echo $! >/etc/pid; exit 3")
    assert done.status == 3
    assert b"77777" not in all_command_lines()


def all_command_lines():

    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes())
        except OSError:
            continue
    return b"".join(lines)


def test_secrets_are_there_and_never_in_the_layer(builder):
    done = builder.run("cat /run/secrets/token; stat -c %a /run/secrets/token; ! rm /run/secrets/token",
                       secrets={"token": "hush"})  # fmt: skip
    assert done.status == 0
    assert "hush" in done.output
    assert "400" in done.output.split()
    assert done.names == []


def test_labels_are_returned(anyone):
    done = anyone.run("echo a b >> /.build.labels")
    assert (done.labels, done.names) == ("a b\n", [])


def test_without_network_there_is_a_loopback_device_only(builder):
    done = builder.run("cat /proc/net/dev; ping -c1 -W1 127.0.0.1 >/dev/null", network=False)
    devices = [line.split(":")[0].strip() for line in done.output.splitlines() if ":" in line]
    assert [name for name in devices if name not in ("sit0", "tunl0", "ip6tnl0")] == ["lo"]


def test_state_carries_over_to_the_next_piece(anyone):
    first = anyone.run("A='x y'; export B=\"it's\"; cd /etc; umask 027; set -u\n", carry=True)
    assert first.reached_end
    second = anyone.run("pwd; umask; echo $A; env | grep B=; echo $-; echo $NONE\n", snapshot=first.snapshot)
    assert second.status != 0
    assert second.output.splitlines()[1:8:2][:3] == ["/etc", "0027", "x y"]
    assert "B=it's" in second.output
    assert second.line == 1


def test_leaving_early_is_not_the_end(anyone):
    assert not anyone.run("exit 0", carry=True).reached_end


@pytest.mark.parametrize(
    "words", [["/bin/sh", "-ex", "-c", "/bin/cat /.post.script"], ["/bin/nothing", "/.post.script"]]
)
def test_other_words_run_the_script_as_it_is(anyone, words):
    done = anyone.run("the script", words=words)
    if words[0] == "/bin/nothing":
        assert done.error == "/bin/nothing: No such file or directory"
    else:
        assert done.output.endswith("the script")


def test_a_copy_of_the_tree_gives_the_same_layer(builder):
    script = """
    mkdir -p /o/d; cd /o; echo x > f; ln f g; chown 5:6 f; ln -s f l; chown -h 9:9 l; mkfifo p; rm /etc/shadow
    rm -r /etc/network; echo more >> /etc/passwd; chmod 700 /root; mv /etc/group /etc/groups; chown 3 /var/spool/mail
    """
    copied, laid_over = (builder.run(script, copy=copy, epoch=EPOCH) for copy in (True, False))
    assert copied.status == laid_over.status == 0
    assert copied.names == laid_over.names
    assert [vars(row) for row in copied.layer.values()] == [vars(row) for row in laid_over.layer.values()]
    assert builder.left() == []


def test_layers_lie_over_each_other(builder):
    first = builder.run(
        "mkdir /o /o/sub; echo 1 > /o/one; ln /o/one /o/uno; chown 7:7 /o/one; touch /o/gone /etc/later"
    )
    assert first.status == 0
    builder.stack("second", first.layer)
    try:
        lowers = [str(builder.folder / "second"), *builder.lowers]
        script = "stat -c '%u:%g %h %n' /o/one; rm -r /o/gone /o/sub; mkdir /o/sub; rm /etc/later; chown 8 /o/uno"
        runs = [builder.run(script, lowers=lowers, copy=copy) for copy in (False, True)]
    finally:
        builder.do(do="remove", place="second")
    for done in runs:
        assert done.status == 0
        assert "7:7 2 /o/one\n" in done.output
        assert [done.layer[path].kind for path in ("etc/later", "o/gone")] == ["whiteout", "whiteout"]
        row = done.layer["o/uno"]
        assert (done.layer[row.target] if row.kind == "hard" else row).owner == [8, 7]


def test_a_script_of_the_host_sees_the_host_and_changes_the_tree(builder):
    script = """
    test -d /var/lib; echo x > "$APPTAINER_ROOTFS/made"
    chown 5:6 "$SINGULARITY_ROOTFS/made"; stat -c %u:%g "$APPTAINER_ROOTFS/made"
    rm "$APPTAINER_ROOTFS/bin/yes"; echo "$0"
    set -- /proc/[0-9]*; echo $#; pwd
    """
    done = builder.run(script, setup=True)
    assert done.status == 0
    said = [line for line in done.output.splitlines() if line[0] != "+"]
    assert said[0] == "5:6"
    assert said[1].endswith("/script")
    assert said[2:] == ["2", str(Path.cwd())]
    assert {path: row.kind for path, row in done.layer.items()} == {"bin": "dir", "bin/yes": "whiteout", "made": "file"}
    assert done.layer["made"].owner == [5, 6]


@pytest.mark.parametrize(("privileged", "mask"), [(False, 0xA80425FB), (True, None)])
def test_capabilities_are_those_that_docker_gives(builder, privileged, mask):
    done = builder.run("grep CapEff /proc/self/status", privileged=privileged)
    found = int(done.output.split()[-1], 16)
    if mask:
        assert found == mask
    else:
        assert found & (1 << 21)  # CAP_SYS_ADMIN
