"""The options of ``run``, ``exec``, ``shell`` and ``test``: those of Apptainer and SingularityCE, and a few of sifmake.

Each option is a row: attribute, words, kind, environment variables without their prefix, placeholder, help. The table
says who implements it: ``SHARED`` every back end, ``PEERS`` only Apptainer or SingularityCE, ``OWN`` sifmake itself
before anything runs.
"""

from __future__ import annotations

FLAG, VALUE, LIST, TEXTS = "flag", "value", "list", "texts"
"""Kinds: on or off; the last value wins; comma-separated words that add up; texts that add up, variables included."""

Row = tuple[str, str, str, str, str, str]

SHARED: tuple[Row, ...] = (
    ("bind", "-B --bind", TEXTS, "BIND BINDPATH", "SRC[:DEST[:OPTS]]", "mount a path of the host"),
    ("mount", "--mount", TEXTS, "MOUNT", "type=bind,src=SRC,dst=DEST[,ro]", "the same as --bind, in mount syntax"),
    ("cleanenv", "-e --cleanenv", FLAG, "CLEANENV", "", "do not pass the host's environment variables"),
    (
        "compat",
        "--compat",
        FLAG,
        "COMPAT",
        "",
        "behave like Docker: -C --no-init --no-umask --no-eval --writable-tmpfs",
    ),
    ("contain", "-c --contain", FLAG, "CONTAIN", "", "empty home and /tmp, minimal /dev"),
    ("containall", "-C --containall", FLAG, "CONTAINALL", "", "also separate processes and a clean environment"),
    ("cwd", "--cwd --pwd", VALUE, "PWD TARGET_PWD CWD TARGET_CWD", "DIR", "working directory of the program"),
    ("dns", "--dns", LIST, "DNS", "ADDRESS[,...]", "name servers for resolv.conf"),
    ("env", "--env", TEXTS, "", "NAME=VALUE[,...]", "set a variable"),
    ("env_file", "--env-file", LIST, "ENV_FILE", "FILE", "set variables from a file, one per line"),
    ("home", "-H --home", VALUE, "HOME", "SRC[:DEST]", "home directory instead of the user's"),
    ("hostname", "--hostname", VALUE, "HOSTNAME", "NAME", "host name that the program sees"),
    ("ipc", "-i --ipc", FLAG, "IPC UNSHARE_IPC", "", "separate shared memory and message queues"),
    ("keep_privs", "--keep-privs", FLAG, "KEEP_PRIVS", "", "no effect: root keeps its capabilities anyway"),
    ("no_env", "--no-env", LIST, "NOENV", "NAME[,...]", "host variables not to pass"),
    ("no_eval", "--no-eval", FLAG, "NO_EVAL", "", "pass arguments and variables as they are"),
    ("no_home", "--no-home", FLAG, "NO_HOME", "", "do not mount the home directory"),
    ("no_init", "--no-init", FLAG, "NOSHIMINIT", "", "with --pid: run the program as process 1"),
    ("no_mount", "--no-mount", LIST, "NO_MOUNT", "WHAT[,...]", "proc sys dev devpts tmp home cwd bind-paths /etc/..."),
    ("no_nv", "--no-nv", FLAG, "NV_OFF NO_NV", "", "no NVIDIA GPU, overriding the site's default"),
    ("no_pid", "--no-pid", FLAG, "NO_PID", "", "share the host's processes, overriding other options"),
    ("no_privs", "--no-privs", FLAG, "NO_PRIVS", "", "drop all capabilities of root"),
    ("no_rocm", "--no-rocm", FLAG, "ROCM_OFF NO_ROCM", "", "no AMD GPU, overriding the site's default"),
    ("no_tmp_sandbox", "--no-tmp-sandbox", FLAG, "NO_TMP_SANDBOX", "", "fail instead of unpacking the image"),
    ("no_umask", "--no-umask", FLAG, "NO_UMASK", "", "umask 0022 instead of the caller's"),
    ("pid", "-p --pid", FLAG, "PID UNSHARE_PID", "", "separate processes"),
    ("scratch", "-S --scratch", LIST, "SCRATCH SCRATCHDIR", "DIR[,...]", "an empty, writable folder"),
    ("tmp_sandbox", "--tmp-sandbox", FLAG, "TMP_SANDBOX", "", "unpack the image first (SingularityCE's name for it)"),
    ("underlay", "--underlay", FLAG, "UNDERLAY", "", "no effect: mount points are made without overlay anyway"),
    ("unsquash", "--unsquash", FLAG, "UNSQUASH", "", "unpack the image first (Apptainer's name for it)"),
    (
        "userns",
        "-u --userns",
        FLAG,
        "USERNS UNSHARE_USERNS",
        "",
        "separate user namespace; ordinary users always get one",
    ),
    ("uts", "--uts", FLAG, "UTS UNSHARE_UTS", "", "separate host name"),
    ("workdir", "-W --workdir", VALUE, "WORKDIR", "DIR", "folder for scratch, and for contained home and /tmp"),
    ("writable_tmpfs", "--writable-tmpfs", FLAG, "WRITABLE_TMPFS", "", "make the image writable for this run"),
)

PEERS: tuple[Row, ...] = (
    ("add_caps", "--add-caps", VALUE, "ADD_CAPS", "LIST", "capabilities to add"),
    ("allow_setuid", "--allow-setuid", FLAG, "ALLOW_SETUID", "", "allow setuid programs"),
    ("app", "--app", VALUE, "APP APPNAME", "NAME", "a SCIF app of the image"),
    ("apply_cgroups", "--apply-cgroups", VALUE, "APPLY_CGROUPS", "FILE", "file with resource limits"),
    ("blkio_weight", "--blkio-weight", VALUE, "BLKIO_WEIGHT", "N", "weight of block I/O"),
    ("blkio_weight_device", "--blkio-weight-device", LIST, "BLKIO_WEIGHT_DEVICE", "LIST", "the same for a device"),
    ("cdi_dirs", "--cdi-dirs", LIST, "", "DIR[,...]", "folders with CDI definitions"),
    ("compat32", "--compat32", FLAG, "COMPAT32", "", "32-bit GPU libraries"),
    ("containlibs", "--containlibs", LIST, "CONTAINLIBS", "LIST", "libraries of the host"),
    ("cpu_shares", "--cpu-shares", VALUE, "CPU_SHARES", "N", "shares of processor time"),
    ("cpus", "--cpus", VALUE, "", "N", "number of processors"),
    ("cpuset_cpus", "--cpuset-cpus", VALUE, "CPUSET_CPUS", "LIST", "processors"),
    ("cpuset_mems", "--cpuset-mems", VALUE, "CPUSET_MEMS", "LIST", "memory nodes"),
    ("data", "--data", LIST, "", "SIF:DEST", "data containers"),
    ("device", "--device", LIST, "", "NAME[,...]", "CDI devices"),
    ("dmtcp_launch", "--dmtcp-launch", VALUE, "DMTCP_LAUNCH", "NAME", "checkpoint to write"),
    ("dmtcp_restart", "--dmtcp-restart", VALUE, "DMTCP_RESTART", "NAME", "checkpoint to restart from"),
    ("drop_caps", "--drop-caps", VALUE, "DROP_CAPS", "LIST", "capabilities to drop"),
    ("fakeroot", "-f --fakeroot", FLAG, "FAKEROOT", "", "appear to be root"),
    ("fusemount", "--fusemount", LIST, "FUSESPEC", "SPEC", "a FUSE file system"),
    ("ignore_fakeroot", "--ignore-fakeroot-command", FLAG, "IGNORE_FAKEROOT_COMMAND", "", "for --fakeroot"),
    ("ignore_subuid", "--ignore-subuid", FLAG, "IGNORE_SUBUID", "", "for --fakeroot"),
    ("ignore_userns", "--ignore-userns", FLAG, "IGNORE_USERNS", "", "for --fakeroot"),
    ("intel_hpu", "--intel-hpu", FLAG, "INTEL_HPU", "", "Gaudi accelerators"),
    ("keep_layers", "--keep-layers", FLAG, "KEEP_LAYERS", "", "for --oci"),
    ("memory", "--memory", VALUE, "MEMORY", "BYTES", "memory limit"),
    ("memory_reservation", "--memory-reservation", VALUE, "MEMORY_RESERVATION", "BYTES", "soft memory limit"),
    ("memory_swap", "--memory-swap", VALUE, "MEMORY_SWAP", "BYTES", "swap limit"),
    ("net", "-n --net", FLAG, "NET UNSHARE_NET", "", "separate network; sifmake supports it with --network none"),
    ("netns_path", "--netns-path", VALUE, "NETNS_PATH", "PATH", "network namespace to join"),
    ("network", "--network", VALUE, "NETWORK", "TYPE[,...]", "kinds of network; none means no network"),
    ("network_args", "--network-args", LIST, "NETWORK_ARGS", "LIST", "arguments for network plugins"),
    ("no_compat", "--no-compat", FLAG, "NO_COMPAT", "", "for --oci"),
    ("no_oci", "--no-oci", FLAG, "NO_OCI", "", "no effect: the OCI mode is off anyway"),
    ("no_setgroups", "--no-setgroups", FLAG, "NO_SETGROUPS", "", "for --fakeroot"),
    ("nv", "--nv", FLAG, "NV", "", "use NVIDIA GPUs; warns if there is none"),
    ("nvccli", "--nvccli", FLAG, "NVCCLI", "", "use NVIDIA GPUs through nvidia-container-cli"),
    ("oci", "--oci", FLAG, "OCI", "", "SingularityCE's OCI mode"),
    ("oom_kill_disable", "--oom-kill-disable", FLAG, "OOM_KILL_DISABLE", "", "no OOM killer"),
    ("overlay", "-o --overlay", LIST, "OVERLAY OVERLAYIMAGE", "PATH", "an additional layer, possibly writable"),
    ("passphrase", "--passphrase", FLAG, "", "", "ask for the passphrase of an encrypted image"),
    ("pem_path", "--pem-path", VALUE, "", "FILE", "key for an encrypted image"),
    ("pids_limit", "--pids-limit", VALUE, "PIDS_LIMIT", "N", "limit on the number of processes"),
    ("rocm", "--rocm", FLAG, "ROCM", "", "use AMD GPUs; warns if there is none"),
    ("security", "--security", LIST, "SECURITY", "LIST", "SELinux, AppArmor, seccomp"),
    ("sharens", "--sharens", FLAG, "SHARENS", "", "share namespaces with other runs"),
    ("writable", "-w --writable", FLAG, "WRITABLE", "", "write to the image itself"),
)

OWN: tuple[Row, ...] = (
    ("runtime", "--runtime", VALUE, "", "apptainer|singularity|builtin", "back end that runs the program"),
    ("offline", "--offline", FLAG, "", "", "ask no registry: the image must be in the store or a local file"),
    ("no_https", "--nohttps --no-https", FLAG, "NOHTTPS NO_HTTPS", "", "use plain HTTP for the registry"),
    ("authfile", "--authfile", VALUE, "AUTH_FILE", "FILE", "registry credentials in Docker's format"),
    (
        "disable_cache",
        "--disable-cache",
        FLAG,
        "DISABLE_CACHE",
        "",
        "no effect; set SIFMAKE_CACHE=DIR to use another store",
    ),
    (
        "docker_host",
        "--docker-host",
        VALUE,
        "DOCKER_HOST",
        "URL",
        "not supported: set DOCKER_HOST to choose the engine",
    ),
    ("docker_login", "--docker-login", FLAG, "DOCKER_LOGIN", "", "not supported: run sifmake registry login once"),
)

ACTION: dict[str, tuple[Row, ...]] = {
    "shell": (("shell", "-s --shell", VALUE, "SHELL", "PATH", "shell to run"),),
    "run": (("runscript_timeout", "--runscript-timeout", VALUE, "RUNSCRIPT_TIMEOUT", "TIME", "time limit"),),
    "exec": (),
    "test": (),
}
"""Options of one action only; every back end knows the first, only the peers know the second."""

HINTS = {
    "app": "run the app's program with `sifmake exec`",
    "data": "use apptainer or singularity for data containers",
    "fakeroot": "use --writable-tmpfs to change files of the image for one run",
    "overlay": "use --writable-tmpfs to keep changes for one run, --bind to keep them longer",
    "writable": "SIF files are read-only; use --writable-tmpfs to keep changes for one run, --bind to keep them longer",
}
"""What to do instead of an option that only the peers support, if there is an alternative."""


def shared_rows(action: str) -> tuple[Row, ...]:
    """Return the options of an action that every back end supports."""
    return SHARED + (ACTION[action] if action == "shell" else ())


def peer_rows(action: str) -> tuple[Row, ...]:
    """Return the options of an action that only Apptainer and SingularityCE support."""
    return PEERS + (ACTION[action] if action == "run" else ())


def all_rows(action: str) -> tuple[Row, ...]:
    """Return all options of an action."""
    return SHARED + PEERS + OWN + ACTION[action]


def long_word(row: Row) -> str:
    """Return the spelling of an option to pass to a peer: the one that every version of the peers knows."""
    return row[1].rpartition(" ")[2]
