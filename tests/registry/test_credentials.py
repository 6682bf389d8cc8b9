"""Row a19 and a20: where credentials come from, and which entry wins."""

from __future__ import annotations

import base64
import json

import pytest

from sifmake.errors import ConfigError
from sifmake.registry import Credentials
from sifmake.registry.auth_file import normal_key, parse_auth_file, store_entry
from sifmake.registry.credentials import CredentialStore
from sifmake.registry.login import forget, keep, known_registries, target_file
from support.pulling import Messages


def auth(user, words="p"):
    return {"auth": base64.b64encode(f"{user}:{words}".encode()).decode()}


def who(environ, host="quay.io", repository="org/img", **options):
    found = CredentialStore(environ, Messages(), **options).find(host, repository)
    return found and found.username


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("quay.io", "quay.io"),
        ("https://quay.io", "quay.io"),
        ("https://quay.io/v1/", "quay.io"),
        ("https://quay.io/v2", "quay.io"),
        ("quay.io/org/img", "quay.io/org/img"),
        ("localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io/org", "docker.io/org"),
    ],
)
def test_keys_of_all_tools(key, expected):
    assert normal_key(key) == expected


@pytest.mark.parametrize(
    ("repository", "expected"),
    [("org/img", "img"), ("org/other", "org"), ("else/img", "host"), ("org/img/sub", "img"), ("organ/img", "host")],
)
def test_the_most_specific_entry_wins(tmp_path, repository, expected):
    entries = {"quay.io": auth("host"), "quay.io/org": auth("org"), "quay.io/org/img": auth("img")}
    path = write(tmp_path / "auth.json", json.dumps({"auths": entries}))
    assert who({}, repository=repository, auth_file=path) == expected


def test_a_repository_in_a_later_file_beats_a_host_in_an_earlier_one(tmp_path):
    write(tmp_path / "docker/config.json", json.dumps({"auths": {"quay.io": auth("host")}}))
    write(tmp_path / "home/.config/containers/auth.json", json.dumps({"auths": {"quay.io/org": auth("org")}}))
    environ = {"DOCKER_CONFIG": str(tmp_path / "docker"), "HOME": str(tmp_path / "home")}
    assert who(environ) == "org"
    assert who(environ, repository="x/y") == "host"


FILES = {
    ".docker/config.json": "docker",
    ".singularity/docker-config.json": "singularity",
    ".apptainer/docker-config.json": "apptainer",
    ".config/containers/auth.json": "podman",
}


@pytest.mark.parametrize(("path", "user"), FILES.items())
def test_the_usual_files(tmp_path, path, user):
    write(tmp_path / path, json.dumps({"auths": {"quay.io": auth(user)}}))
    assert who({"HOME": str(tmp_path)}) == user


def test_apptainers_file_comes_before_dockers(tmp_path):
    for path, user in FILES.items():
        write(tmp_path / path, json.dumps({"auths": {"quay.io": auth(user)}}))
    assert who({"HOME": str(tmp_path)}) == "apptainer"


@pytest.mark.parametrize(
    "variable", ["REGISTRY_AUTH_FILE", "APPTAINER_AUTH_FILE", "SINGULARITY_AUTHFILE", "SIFMAKE_AUTH_FILE"]
)
def test_a_named_file_is_the_only_one(tmp_path, variable):
    write(tmp_path / ".docker/config.json", json.dumps({"auths": {"quay.io": auth("docker")}}))
    named = write(tmp_path / "named.json", json.dumps({"auths": {"ghcr.io": auth("named")}}))
    environ = {"HOME": str(tmp_path), variable: str(named)}
    assert who(environ) is None
    assert who(environ, "ghcr.io") == "named"


def test_other_places(tmp_path):
    podman = json.dumps({"auths": {"quay.io": auth("runtime")}})
    write(tmp_path / "run/containers/auth.json", podman)
    assert who({"XDG_RUNTIME_DIR": str(tmp_path / "run")}) == "runtime"
    assert who({"DOCKER_AUTH_CONFIG": json.dumps({"auths": {"quay.io": auth("content")}})}) == "content"
    assert who({"APPTAINER_DOCKER_USERNAME": "v", "APPTAINER_DOCKER_PASSWORD": "p"}) == "v"
    assert who({"APPTAINER_DOCKER_USERNAME": "v"}) is None
    assert who({}, explicit=Credentials("explicit", "p")) == "explicit"
    assert who({}) is None


def test_docker_hub_has_many_names():
    for key in ("https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"):
        content = json.dumps({"auths": {key: auth("hub")}})
        assert who({"DOCKER_AUTH_CONFIG": content}, "docker.io", "library/alpine") == "hub"


def test_forms_of_an_entry():
    document = {
        "a.io": {"username": "u", "password": "p"},
        "b.io": auth("u", "p:q"),
        "c.io": {"auth": base64.b64encode(b"u:p\0\0").decode()},
        "d.io": {**auth("u"), "identitytoken": "i"},
        "e.io": {"registrytoken": "r"},
        "f.io": {},
    }
    entries = parse_auth_file(json.dumps({"auths": document}).encode(), "x").entries
    assert (entries["a.io"].username, entries["a.io"].password) == ("u", "p")
    assert (entries["b.io"].username, entries["b.io"].password) == ("u", "p:q")
    assert entries["c.io"].password == "p"
    assert entries["d.io"].identity_token == "i"
    assert entries["e.io"].registry_token == "r"
    assert "f.io" not in entries


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths": [1]}', '{"auths": {"x": {"auth": "%"}}}', '{"auths": {"x": 1}}']
)
def test_damaged_files_are_named(tmp_path, text):
    path = write(tmp_path / "auth.json", text)
    with pytest.raises(ConfigError, match=r"auth.json: the file with registry credentials is damaged"):
        who({}, auth_file=path)


def test_a_login_is_kept_private_and_beside_what_was_there(tmp_path):
    path = write(tmp_path / ".docker/config.json", json.dumps({"auths": {"a.io": auth("a")}, "detachKeys": "ctrl-e"}))
    environ = {"HOME": str(tmp_path)}
    assert keep("quay.io", Credentials("u", "p:w"), environ) == str(path)
    document = json.loads(path.read_text())
    assert document["detachKeys"] == "ctrl-e"
    assert document["auths"]["quay.io"] == auth("u", "p:w")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [(row.registry, row.username) for row in known_registries(environ, Messages())] == [
        ("a.io", "a"),
        ("quay.io", "u"),
    ]
    assert forget("quay.io", environ) == [str(path)]
    assert forget("quay.io", environ) == []
    assert json.loads(path.read_text())["auths"] == {"a.io": auth("a")}


@pytest.mark.parametrize("variable", ["SIFMAKE_AUTH_FILE", "APPTAINER_AUTH_FILE", "REGISTRY_AUTH_FILE"])
def test_a_file_that_a_variable_names_and_that_is_not_there_is_told(tmp_path, variable):
    path = write(tmp_path / "auth.json", "{}")
    environ, messages = {variable: str(path), "HOME": str(tmp_path)}, Messages()
    assert CredentialStore(environ, messages).find("quay.io", "x") is None
    assert messages.warnings == []
    path.unlink()
    assert CredentialStore(environ, messages).find("quay.io", "x") is None
    assert messages.warnings == [f"{path}: the file with registry credentials does not exist; continuing without it"]


def test_a_file_that_cannot_be_read_is_told_and_never_replaced(tmp_path):
    """``sudo docker login`` leaves such files; a folder stands for one here, for root may read every file."""
    path = tmp_path / ".docker/config.json"
    path.mkdir(parents=True)
    environ, messages = {"HOME": str(tmp_path)}, Messages()
    assert CredentialStore(environ, messages).find("quay.io", "x") is None
    assert messages.warnings == [f"{path}: the file with registry credentials cannot be read; continuing without it"]
    assert known_registries(environ, messages) == []
    assert len(messages.warnings) == 2
    for change in (
        lambda: keep("quay.io", Credentials("u", "p"), environ),
        lambda: forget("quay.io", environ),
        lambda: who({}, auth_file=path),
    ):
        with pytest.raises(ConfigError, match=r"config.json: .* cannot be read; .*--authfile"):
            change()
    assert path.is_dir()


def test_a_home_that_cannot_be_entered_is_none(tmp_path):
    (tmp_path / "home").write_text("a file")
    messages = Messages()
    assert CredentialStore({"HOME": str(tmp_path / "home")}, messages).find("quay.io", "x") is None
    assert messages.warnings == []


def test_docker_hub_is_kept_under_dockers_own_name(tmp_path):
    store_entry(tmp_path / "c.json", "docker.io", Credentials("u", "p"))
    assert list(json.loads((tmp_path / "c.json").read_text())["auths"]) == ["https://index.docker.io/v1/"]


def test_a_login_makes_no_file_that_hides_dockers(tmp_path):
    assert target_file({"HOME": str(tmp_path)}) == tmp_path / ".docker/config.json"
    write(tmp_path / ".apptainer/docker-config.json", "{}")
    assert target_file({"HOME": str(tmp_path)}) == tmp_path / ".apptainer/docker-config.json"


def test_a_helper_keeps_gives_lists_and_forgets(tmp_path):
    program = write(
        tmp_path / "docker-credential-box",
        '#!/bin/sh\ncase $1 in store) cat > "$BOX";; get) read -r s; cat "$BOX" 2>/dev/null || '
        '{ echo "credentials not found in native keychain"; exit 1; };; erase) rm "$BOX";; '
        'list) echo "{\\"https://quay.io\\": \\"u\\"}";; esac\n',
    )
    program.chmod(0o755)
    path = write(tmp_path / ".docker/config.json", json.dumps({"credsStore": "box"}))
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", "BOX": str(tmp_path / "box")}
    assert who(environ) is None
    assert keep("quay.io", Credentials("u", "hunter2"), environ) == "docker-credential-box"
    assert "hunter2" not in path.read_text()
    assert json.loads((tmp_path / "box").read_text()) == {"ServerURL": "quay.io", "Username": "u", "Secret": "hunter2"}
    (tmp_path / "box").write_text('{"Username": "u", "Secret": "hunter2"}')
    assert who(environ) == "u"
    assert [(row.registry, row.username) for row in known_registries(environ, Messages())] == [("quay.io", "u")]
    assert forget("quay.io", environ) == ["docker-credential-box"]


def test_a_helper_may_give_an_identity_token(tmp_path):
    program = write(tmp_path / "docker-credential-box", '#!/bin/sh\necho \'{"Username": "<token>", "Secret": "t"}\'\n')
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DOCKER_AUTH_CONFIG": '{"credHelpers": {"quay.io": "box"}}'}
    found = CredentialStore(environ, Messages()).find("quay.io", "x")
    assert (found.username, found.identity_token) == ("", "t")


@pytest.mark.parametrize("names_it", [{"credHelpers": {"quay.io": "box"}}, {"credsStore": "box"}], ids=" ".join)
@pytest.mark.parametrize(("known", "expected"), [("quay.io", "helper"), ("ghcr.io", "stale")])
def test_a19_a_helper_comes_before_what_an_old_login_left_in_the_file(tmp_path, names_it, known, expected):
    """As in Docker and Podman, which do not look at the entry any more once the host has a helper."""
    program = write(
        tmp_path / "docker-credential-box",
        f'#!/bin/sh\nread -r host\nif [ "$host" != {known} ]; then echo "credentials not found"; exit 1; fi\n'
        'echo \'{"Username": "helper", "Secret": "p"}\'\n',
    )
    program.chmod(0o755)
    document = {"auths": {"quay.io": auth("stale"), "quay.io/own": auth("own")}, **names_it}
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DOCKER_AUTH_CONFIG": json.dumps(document)}
    assert who(environ) == expected
    assert who(environ, repository="own/img") == "own", "an entry for the repository says more than any for the host"


@pytest.mark.parametrize("name", ["../../bin/sh", "missing"])
def test_helpers_that_are_none(name):
    messages = Messages()
    environ = {"PATH": "/nowhere", "DOCKER_AUTH_CONFIG": json.dumps({"credsStore": name})}
    assert CredentialStore(environ, messages).find("quay.io", "x") is None
    assert name in messages.warnings[0]
