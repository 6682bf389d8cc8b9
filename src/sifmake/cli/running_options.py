"""The options of ``run``, ``exec``, ``shell`` and ``test``: Apptainer's and SingularityCE's, and a few of our own.

Each is a row: attribute, words, kind, environment variables without their prefix, what follows the words, help. The
table says who does it: ``SHARED`` every back end, ``PEERS`` only Apptainer or SingularityCE, ``OWN`` this program,
before anything runs.
"""

from __future__ import annotations

FLAG, VALUE, LIST, TEXTS = "flag", "value", "list", "texts"
"""Kinds: on or off; the last one counts; comma-separated words that add up; texts that add up, variables too."""

Row = tuple[str, str, str, str, str, str]

SHARED: tuple[Row, ...] = (
    ("bind", "-B --bind", TEXTS, "BIND BINDPATH", "SRC[:DEST[:OPTS]]", "mount a path of the host"),
    ("mount", "--mount", TEXTS, "MOUNT", "type=bind,src=SRC,dst=DEST[,ro]", "the same in other words"),
    ("cleanenv", "-e --cleanenv", FLAG, "CLEANENV", "", "pass no variables of the host"),
    ("compat", "--compat", FLAG, "COMPAT", "", "as Docker: -C --no-init --no-umask --no-eval --writable-tmpfs"),
    ("contain", "-c --contain", FLAG, "CONTAIN", "", "empty home and /tmp, minimal /dev"),
    ("containall", "-C --containall", FLAG, "CONTAINALL", "", "also own processes and environment"),
    ("cwd", "--cwd --pwd", VALUE, "PWD TARGET_PWD CWD TARGET_CWD", "DIR", "directory to start in"),
    ("dns", "--dns", LIST, "DNS", "ADDRESS[,...]", "name servers for resolv.conf"),
    ("env", "--env", TEXTS, "", "NAME=VALUE[,...]", "set a variable"),
    ("env_file", "--env-file", LIST, "ENV_FILE", "FILE", "set the variables that a file has, a line for each"),
    ("home", "-H --home", VALUE, "HOME", "SRC[:DEST]", "home directory instead of the user's"),
    ("hostname", "--hostname", VALUE, "HOSTNAME", "NAME", "name of the host, as the program sees it"),
    ("ipc", "-i --ipc", FLAG, "IPC UNSHARE_IPC", "", "own shared memory and message queues"),
    ("keep_privs", "--keep-privs", FLAG, "KEEP_PRIVS", "", "let root keep its capabilities, as it does anyway"),
    ("no_env", "--no-env", LIST, "NOENV", "NAME[,...]", "variables of the host that are not passed"),
    ("no_eval", "--no-eval", FLAG, "NO_EVAL", "", "pass arguments and variables as they are"),
    ("no_home", "--no-home", FLAG, "NO_HOME", "", "do not mount the home directory"),
    ("no_init", "--no-init", FLAG, "NOSHIMINIT", "", "with --pid: let the program be process 1"),
    ("no_mount", "--no-mount", LIST, "NO_MOUNT", "WHAT[,...]", "proc sys dev devpts tmp home cwd bind-paths /etc/..."),
    ("no_nv", "--no-nv", FLAG, "NV_OFF NO_NV", "", "no GPU, if the site's default is another"),
    ("no_pid", "--no-pid", FLAG, "NO_PID", "", "no processes of its own, whatever else is asked for"),
    ("no_privs", "--no-privs", FLAG, "NO_PRIVS", "", "take all capabilities from root"),
    ("no_rocm", "--no-rocm", FLAG, "ROCM_OFF NO_ROCM", "", "likewise for ROCm"),
    ("no_tmp_sandbox", "--no-tmp-sandbox", FLAG, "NO_TMP_SANDBOX", "", "fail rather than unpack the image"),
    ("no_umask", "--no-umask", FLAG, "NO_UMASK", "", "umask 0022 instead of the caller's"),
    ("pid", "-p --pid", FLAG, "PID UNSHARE_PID", "", "own processes"),
    ("scratch", "-S --scratch", LIST, "SCRATCH SCRATCHDIR", "DIR[,...]", "an empty folder that can be written to"),
    ("tmp_sandbox", "--tmp-sandbox", FLAG, "TMP_SANDBOX", "", "unpack the image first (SingularityCE's word)"),
    ("underlay", "--underlay", FLAG, "UNDERLAY", "", "make mount points without overlay, as is done anyway"),
    ("unsquash", "--unsquash", FLAG, "UNSQUASH", "", "unpack the image first (Apptainer's word)"),
    ("userns", "-u --userns", FLAG, "USERNS UNSHARE_USERNS", "", "own user namespace; always, for ordinary users"),
    ("uts", "--uts", FLAG, "UTS UNSHARE_UTS", "", "own name of the host"),
    ("workdir", "-W --workdir", VALUE, "WORKDIR", "DIR", "where scratch, and contained home and /tmp, are kept"),
    ("writable_tmpfs", "--writable-tmpfs", FLAG, "WRITABLE_TMPFS", "", "let the image be written to, for this run"),
)

PEERS: tuple[Row, ...] = (
    ("add_caps", "--add-caps", VALUE, "ADD_CAPS", "LIST", "capabilities to add"),
    ("allow_setuid", "--allow-setuid", FLAG, "ALLOW_SETUID", "", "let setuid programs work"),
    ("app", "--app", VALUE, "APP APPNAME", "NAME", "a SCIF app of the image"),
    ("apply_cgroups", "--apply-cgroups", VALUE, "APPLY_CGROUPS", "FILE", "limits from a file"),
    ("blkio_weight", "--blkio-weight", VALUE, "BLKIO_WEIGHT", "N", "weight of block I/O"),
    ("blkio_weight_device", "--blkio-weight-device", LIST, "BLKIO_WEIGHT_DEVICE", "LIST", "the same for a device"),
    ("cdi_dirs", "--cdi-dirs", LIST, "", "DIR[,...]", "folders of CDI definitions"),
    ("compat32", "--compat32", FLAG, "COMPAT32", "", "GPU libraries of 32 bits"),
    ("containlibs", "--containlibs", LIST, "CONTAINLIBS", "LIST", "libraries of the host"),
    ("cpu_shares", "--cpu-shares", VALUE, "CPU_SHARES", "N", "shares of processor time"),
    ("cpus", "--cpus", VALUE, "", "N", "number of processors"),
    ("cpuset_cpus", "--cpuset-cpus", VALUE, "CPUSET_CPUS", "LIST", "processors"),
    ("cpuset_mems", "--cpuset-mems", VALUE, "CPUSET_MEMS", "LIST", "memory nodes"),
    ("data", "--data", LIST, "", "SIF:DEST", "data containers"),
    ("device", "--device", LIST, "", "NAME[,...]", "CDI devices"),
    ("dmtcp_launch", "--dmtcp-launch", VALUE, "DMTCP_LAUNCH", "NAME", "checkpoint to write"),
    ("dmtcp_restart", "--dmtcp-restart", VALUE, "DMTCP_RESTART", "NAME", "checkpoint to go on from"),
    ("drop_caps", "--drop-caps", VALUE, "DROP_CAPS", "LIST", "capabilities to drop"),
    ("fakeroot", "-f --fakeroot", FLAG, "FAKEROOT", "", "appear to be root"),
    ("fusemount", "--fusemount", LIST, "FUSESPEC", "SPEC", "a FUSE file system"),
    ("ignore_fakeroot", "--ignore-fakeroot-command", FLAG, "IGNORE_FAKEROOT_COMMAND", "", "for --fakeroot"),
    ("ignore_subuid", "--ignore-subuid", FLAG, "IGNORE_SUBUID", "", "for --fakeroot"),
    ("ignore_userns", "--ignore-userns", FLAG, "IGNORE_USERNS", "", "for --fakeroot"),
    ("intel_hpu", "--intel-hpu", FLAG, "INTEL_HPU", "", "Gaudi accelerators"),
    ("keep_layers", "--keep-layers", FLAG, "KEEP_LAYERS", "", "for --oci"),
    ("memory", "--memory", VALUE, "MEMORY", "BYTES", "most memory"),
    ("memory_reservation", "--memory-reservation", VALUE, "MEMORY_RESERVATION", "BYTES", "soft limit of memory"),
    ("memory_swap", "--memory-swap", VALUE, "MEMORY_SWAP", "BYTES", "most swap"),
    ("net", "-n --net", FLAG, "NET UNSHARE_NET", "", "own network; with --network none by sifmake too"),
    ("netns_path", "--netns-path", VALUE, "NETNS_PATH", "PATH", "network namespace to join"),
    ("network", "--network", VALUE, "NETWORK", "TYPE[,...]", "kinds of network; none is no network"),
    ("network_args", "--network-args", LIST, "NETWORK_ARGS", "LIST", "for the network's plugins"),
    ("no_compat", "--no-compat", FLAG, "NO_COMPAT", "", "for --oci"),
    ("no_oci", "--no-oci", FLAG, "NO_OCI", "", "not --oci, as is done anyway"),
    ("no_setgroups", "--no-setgroups", FLAG, "NO_SETGROUPS", "", "for --fakeroot"),
    ("nv", "--nv", FLAG, "NV", "", "NVIDIA GPUs; a warning where there is none"),
    ("nvccli", "--nvccli", FLAG, "NVCCLI", "", "the same by nvidia-container-cli"),
    ("oci", "--oci", FLAG, "OCI", "", "SingularityCE's OCI mode"),
    ("oom_kill_disable", "--oom-kill-disable", FLAG, "OOM_KILL_DISABLE", "", "no OOM killer"),
    ("overlay", "-o --overlay", LIST, "OVERLAY OVERLAYIMAGE", "PATH", "a writable or further layer"),
    ("passphrase", "--passphrase", FLAG, "", "", "ask for the passphrase of an encrypted image"),
    ("pem_path", "--pem-path", VALUE, "", "FILE", "key of an encrypted image"),
    ("pids_limit", "--pids-limit", VALUE, "PIDS_LIMIT", "N", "most processes"),
    ("rocm", "--rocm", FLAG, "ROCM", "", "AMD GPUs; a warning where there is none"),
    ("security", "--security", LIST, "SECURITY", "LIST", "SELinux, AppArmor, seccomp"),
    ("sharens", "--sharens", FLAG, "SHARENS", "", "share namespaces with other runs"),
    ("writable", "-w --writable", FLAG, "WRITABLE", "", "write into the image itself"),
)

OWN: tuple[Row, ...] = (
    ("runtime", "--runtime", VALUE, "", "apptainer|singularity|builtin", "what runs it"),
    ("offline", "--offline", FLAG, "", "", "ask no registry; the image must be in the store"),
    ("no_https", "--nohttps --no-https", FLAG, "NOHTTPS NO_HTTPS", "", "speak plain http to the registry"),
    ("authfile", "--authfile", VALUE, "AUTH_FILE", "FILE", "registry credentials in Docker's form"),
    ("disable_cache", "--disable-cache", FLAG, "DISABLE_CACHE", "", "no effect; SIFMAKE_CACHE=DIR is another store"),
    ("docker_host", "--docker-host", VALUE, "DOCKER_HOST", "URL", "refused; DOCKER_HOST names the engine"),
    ("docker_login", "--docker-login", FLAG, "DOCKER_LOGIN", "", "refused; sifmake registry login keeps a login"),
)

ACTION: dict[str, tuple[Row, ...]] = {
    "shell": (("shell", "-s --shell", VALUE, "SHELL", "PATH", "shell to run"),),
    "run": (("runscript_timeout", "--runscript-timeout", VALUE, "RUNSCRIPT_TIMEOUT", "TIME", "longest time"),),
    "exec": (),
    "test": (),
}
"""Options of one action only; the first is every back end's, the second a peer's."""

HINTS = {
    "app": "run the app's own program with exec",
    "data": "bind it with apptainer or singularity",
    "fakeroot": "--writable-tmpfs lets files of the image be changed for one run",
    "overlay": "--writable-tmpfs keeps changes for one run, --bind for longer",
    "writable": "SIF files stay as they are; --writable-tmpfs keeps changes for one run, --bind for longer",
}
"""What to do instead of an option that only the peers know, where there is something."""


def shared_rows(action: str) -> tuple[Row, ...]:
    """Return the options of an action that every back end understands."""
    return SHARED + (ACTION[action] if action == "shell" else ())


def peer_rows(action: str) -> tuple[Row, ...]:
    """Return the options of an action that only Apptainer and SingularityCE understand."""
    return PEERS + (ACTION[action] if action == "run" else ())


def all_rows(action: str) -> tuple[Row, ...]:
    """Return all options of an action."""
    return SHARED + PEERS + OWN + ACTION[action]


def long_word(row: Row) -> str:
    """Return the word by which an option is handed on: the one that every version of the peers knows."""
    return row[1].rpartition(" ")[2]
