"""Pulls from Debian's docker-registry: plain, with TLS, with passwords, with tokens; its death and return."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import threading

import pytest

from sifmake.cli.main import main
from sifmake.errors import IntegrityError, RegistryError, SourceError
from sifmake.oci import Descriptor, digest_bytes, parse_platform
from sifmake.reference import parse_reference
from sifmake.registry import Credentials, HostSettings, RetryPolicy
from sifmake.registry.client import RegistryClient
from sifmake.sources import SourceSettings, open_sif_source, open_source
from sifmake.sources.registry_image import client_settings
from support.docker_registry import PASSWORD, USER, needs_registry, running
from support.images import Blobs, write_layout
from support.proxy import Proxy
from support.pulling import FAST, Memory, Messages, pull, read_layer, settings
from support.runtime import wait_until
from support.sif_files import sif_of

pytestmark = needs_registry
ALICE = Credentials(USER, PASSWORD)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    blobs = Blobs()
    images = [blobs.image([b"one" * 100, b"two" * 100_000]), blobs.image([b"arm"], platform="linux/arm64")]
    tags = {"index": blobs.index([*images, blobs.attestation(images[0])]), "single": images[0]}
    return write_layout(tmp_path_factory.mktemp("layout"), blobs, tags)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, layout):
    with running(tmp_path_factory.mktemp("plain")) as registry:
        registry.push(f"oci:{layout}:index", "org/image:1", "--all")
        registry.push(f"oci:{layout}:single", "org/image:docker", "--format", "v2s2")
        yield registry


def test_a_pull_equals_the_layout_and_asks_for_nothing_twice(plain, layout):
    before = len(plain.requests("GET", "/v2/"))
    pulled = pull(f"docker://{plain.host}/org/image:1")
    local = pull(f"oci:{layout}:index")
    assert (pulled.image, pulled.blobs) == (local.image, local.blobs)
    assert pulled.index_digest == local.index_digest
    assert len(plain.requests("GET", "/v2/")) - before == 5, "index, manifest, config, two layers"


def test_a1_an_unchanged_tag_costs_one_head(plain):
    memory = Memory()
    first = pull(f"docker://{plain.host}/org/image:1", known=memory)
    gets, heads = len(plain.requests("GET", "/v2/")), len(plain.requests("HEAD", "/v2/"))
    source = open_source(f"docker://{plain.host}/org/image:1", settings())
    assert source.resolve(parse_platform("amd64"), memory).manifest_digest == first.image.digest
    source.close()
    assert len(plain.requests("GET", "/v2/")) == gets
    assert len(plain.requests("HEAD", "/v2/")) == heads + 1


def test_docker_schema_2_and_digests(plain):
    docker = pull(f"docker://{plain.host}/org/image:docker")
    assert json.loads(docker.image.manifest)["mediaType"].startswith("application/vnd.docker.")
    assert pull(f"docker://{plain.host}/org/image@{docker.image.digest}").image == docker.image
    assert pull(f"docker://{plain.host}/org/image:1@{docker.image.digest}").image == docker.image


def test_what_is_not_there(plain):
    with pytest.raises(RegistryError, match="no such image"):
        pull(f"docker://{plain.host}/org/image:2")
    with pytest.raises(RegistryError, match="no such image"):
        pull(f"docker://{plain.host}/org/none:1")
    config = pull(f"docker://{plain.host}/org/image:docker").image.config_descriptor.digest
    with pytest.raises(SourceError, match="the image ID"):
        pull(f"docker://{plain.host}/org/image@{config}")


def test_a38_an_image_behind_oras_is_named(plain, tmp_path):
    with pytest.raises(SourceError, match=r"a container image with 2 layers, not a SIF file; use docker://localhost"):
        open_sif_source(f"oras://{plain.host}/org/image:1", settings()).fetch(tmp_path / "x.sif")


@pytest.mark.parametrize("options", [{}, {"auth": "htpasswd"}, {"auth": "token"}], ids=["open", "htpasswd", "token"])
def test_tls_of_a_private_authority(tmp_path, layout, options):
    with running(tmp_path / "r", tls=True, **options) as registry:
        registry.push(f"oci:{layout}:single", "org/image:1")
        uri = f"docker://{registry.host}/org/image:1"
        with pytest.raises(RegistryError, match=r"certificate .* is not trusted .*ca-file"):
            pull(uri)
        trusted = {registry.host: HostSettings(ca_file=registry.authority.ca_file)}
        if options:
            with pytest.raises(RegistryError, match=r"access was refused \(401\)"):
                pull(uri, registries=trusted)
        assert len(pull(uri, registries=trusted, credentials=ALICE).blobs) == 2
        if registry.tokens:
            asked = [query["scope"] for query in registry.tokens.asked if "account" not in query]
            assert set(map(tuple, asked)) == {("repository:org/image:pull",)}
            assert len(asked) == 2, "one refused, one for all requests of the pull"


def test_a22_tls_goes_through_a_proxy_unopened(tmp_path, layout):
    """The proxy learns only the name; certificate and password are between the registry and us."""
    with running(tmp_path / "r", tls=True, auth="htpasswd") as registry, Proxy(registry.host) as proxy:
        registry.push(f"oci:{layout}:single", "org/image:1")
        trusted = {"registry.example": HostSettings(ca_file=registry.authority.ca_file)}
        uri, environ = "docker://registry.example/org/image:1", {"HTTPS_PROXY": proxy.url}
        assert len(pull(uri, registries=trusted, credentials=ALICE, environ=environ).blobs) == 2
        assert {*proxy.asked} == {"CONNECT registry.example:443"}
        with pytest.raises(RegistryError, match=r"certificate .* is not trusted"):
            pull(uri, credentials=ALICE, environ=environ)


def test_a_client_certificate(tmp_path, layout):
    with running(tmp_path / "r", tls=True, client_ca=True) as registry:
        certificate, key = registry.authority.issue("client")
        subprocess.run(
            [
                "skopeo",
                "copy",
                "-q",
                "--dest-cert-dir",
                certificates(tmp_path, registry, certificate, key),
                f"oci:{layout}:single",
                f"docker://{registry.host}/x:1",
            ],
            check=True,
        )
        host = HostSettings(ca_file=registry.authority.ca_file)
        uri = f"docker://{registry.host}/x:1"
        with pytest.raises(RegistryError, match="client certificate"):
            pull(uri, registries={registry.host: host})
        host = host._replace(client_cert=certificate, client_key=key)
        assert len(pull(uri, registries={registry.host: host}).blobs) == 2


def test_certificates_of_docker_and_podman(tmp_path, layout):
    """What containers-certs.d(5) describes is all that is configured; skopeo reads the same folder."""
    with running(tmp_path / "r", tls=True, client_ca=True) as registry:
        folder = tmp_path / "home/.config/containers/certs.d" / registry.host
        folder.parent.mkdir(parents=True)
        shutil.move(certificates(tmp_path, registry, *registry.authority.issue("client")), folder)
        environ = {"HOME": str(tmp_path / "home")}
        words = ["skopeo", "copy", "-q", f"oci:{layout}:single", f"docker://{registry.host}/x:1"]
        subprocess.run(words, check=True, env={**os.environ, **environ})
        uri = f"docker://{registry.host}/x:1"
        assert len(pull(uri, environ=environ).blobs) == 2
        (folder / "client.cert").unlink()
        with pytest.raises(RegistryError, match="client certificate"):
            pull(uri, environ=environ)
        (folder / "ca.crt").unlink()
        with pytest.raises(RegistryError, match="is not trusted"):
            pull(uri, environ=environ)


def certificates(folder, registry, certificate, key):
    target = folder / "certs"
    target.mkdir()
    shutil.copy(registry.authority.ca_file, target / "ca.crt")
    shutil.copy(certificate, target / "client.cert")
    shutil.copy(key, target / "client.key")
    return str(target)


def test_a14_htpasswd_and_the_login_command(tmp_path, layout, monkeypatch, capsys):
    with running(tmp_path / "r", auth="htpasswd") as registry:
        registry.push(f"oci:{layout}:single", "org/image:1")
        file = tmp_path / "auth.json"
        login = [
            "registry",
            "login",
            "--authfile",
            str(file),
            "-u",
            USER,
            "--password-stdin",
            f"docker://{registry.host}",
        ]
        assert run(monkeypatch, login, "wrong\n") == 1
        assert not file.exists()
        assert run(monkeypatch, login, f"{PASSWORD}\n") == 0
        assert len(pull(f"docker://{registry.host}/org/image:1", auth_file=file).blobs) == 2
        capsys.readouterr()
        assert run(monkeypatch, ["registry", "list", "--authfile", str(file)]) == 0
        assert capsys.readouterr().out.split() == [registry.host, USER, str(file)]
        assert run(monkeypatch, ["registry", "logout", "--authfile", str(file), registry.host]) == 0
        with pytest.raises(RegistryError, match="access was refused"):
            pull(f"docker://{registry.host}/org/image:1", auth_file=file)
        assert PASSWORD not in "".join(capsys.readouterr())


def run(monkeypatch, words, text=""):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["--quiet", *words])


def test_a5_tokens_that_die_during_a_pull(tmp_path, layout):
    with running(tmp_path / "r", auth="token") as registry:
        registry.push(f"oci:{layout}:single", "org/image:1")
        registry.tokens.life = 1
        source = open_source(f"docker://{registry.host}/org/image:1", settings(credentials=ALICE))
        image = source.image(source.resolve(parse_platform("amd64")).manifest_digest)
        asked = len(registry.tokens.asked)
        threading.Event().wait(1.2)
        registry.tokens.life = 300
        assert read_layer(source, image.layers[0])
        source.close()
        assert len(registry.tokens.asked) == asked + 1


def test_a_registry_that_dies_in_the_middle_of_a_layer_and_comes_back(tmp_path):
    blobs = Blobs()
    dice = random.Random(3)
    image = blobs.image([dice.randbytes(1000), dice.randbytes(20_000_000)])
    layout = write_layout(tmp_path / "layout", blobs, {"t": image})
    with running(tmp_path / "r") as registry:
        registry.push(f"oci:{layout}:t", "org/image:1")
        policy, told = RetryPolicy(base=0.1, longest_pause=0.5, attempts=30), Messages()
        source = open_source(f"docker://{registry.host}/org/image:1", settings(retry=policy, progress=told))
        pulled = source.image(source.resolve(parse_platform("amd64")).manifest_digest)
        first, second = pulled.layers
        read_layer(source, first)
        with source.open_layer(second) as reader:
            digest = hashlib.sha256(reader.read(100_000))
            registry.stop()
            timer = threading.Timer(1.0, registry.start)
            timer.start()
            for data in iter(lambda: reader.read(1 << 20), b""):
                digest.update(data)
        timer.join()
        source.close()
        assert f"sha256:{digest.hexdigest()}" == second.descriptor.digest
        assert len([text for text in told.warnings if "trying again" in text]) == 1, "not once for each try"
        assert len(registry.requests("GET", first.descriptor.digest)) == 1
        # The server writes its log after the last byte, so perhaps a little after we have it.
        asked = re.compile(rf'"GET \S*{second.descriptor.digest} HTTP\S* (\d+) ')
        wait_until(lambda: "206" in asked.findall(registry.log.read_text()))
        assert asked.findall(registry.log.read_text())[-1] == "206", "the rest alone came the second time"


def test_a_blob_that_was_damaged_in_the_registry(tmp_path, layout):
    with running(tmp_path / "r") as registry:
        registry.push(f"oci:{layout}:single", "org/image:1")
        image = pull(f"docker://{registry.host}/org/image:1").image
        name = image.layers[0].descriptor.digest.split(":")[1]
        (path,) = (tmp_path / "r/storage").glob(f"**/{name}/data")
        data = path.read_bytes()
        path.write_bytes(b"\0" * len(data))
        with pytest.raises(AssertionError, match="digest"):
            pull(f"docker://{registry.host}/org/image:1")
        path.write_bytes(data[:10])
        registry.stop()
        registry.start()
        with pytest.raises(IntegrityError, match=r"offers 10 bytes, the manifest says \d+"):
            pull(f"docker://{registry.host}/org/image:1")
        path.unlink()
        with pytest.raises(RegistryError, match="no such blob"):
            pull(f"docker://{registry.host}/org/image:1")


@pytest.mark.parametrize("auth", ["", "token"])
def test_a_sif_is_pushed_and_pulled(tmp_path, auth, monkeypatch):
    (tmp_path / "tool.sif").write_bytes(sif_of(b"data" * 200_000))
    with running(tmp_path / "r", auth=auth) as registry:
        uri = f"oras://{registry.host}/org/tool:1"
        if auth:
            monkeypatch.setenv("SIFMAKE_DOCKER_USERNAME", USER)
            monkeypatch.setenv("SIFMAKE_DOCKER_PASSWORD", PASSWORD)
            monkeypatch.setenv("SIFMAKE_DOCKER_REGISTRY", registry.host)
        assert main(["--quiet", "push", str(tmp_path / "tool.sif"), uri]) == 0
        assert main(["--quiet", "push", str(tmp_path / "tool.sif"), uri]) == 0
        source = open_sif_source(uri, SourceSettings(retry=FAST))
        source.fetch(tmp_path / "copy.sif")
        source.close()
        assert (tmp_path / "copy.sif").read_bytes() == (tmp_path / "tool.sif").read_bytes()
        assert len(registry.requests("PUT", "/blobs/uploads/")) == 2, "the second push uploads nothing"


class Upload(io.BytesIO):
    """A body in the middle of which something happens, once."""

    def __init__(self, data, event):
        super().__init__(data)
        self.event = event

    def read(self, size=-1, /):
        if self.event and self.tell() > len(self.getbuffer()) // 2:
            event, self.event = self.event, None
            event()
        return super().read(size)


def test_a_registry_that_dies_in_the_middle_of_an_upload_and_comes_back(tmp_path):
    """A second try cannot begin with the half that came, because docker-registry refuses to continue it."""
    data = random.Random(5).randbytes(8_000_000)
    with running(tmp_path / "r") as registry:
        back = threading.Timer(0.5, registry.start)
        policy = RetryPolicy(base=0.1, longest_pause=0.5, attempts=30)
        client = RegistryClient(parse_reference(f"{registry.host}/org/x"), client_settings(settings(retry=policy)))
        body = Upload(data, lambda: (registry.stop(), back.start()))
        client.uploader().put_blob(digest_bytes(data), len(data), body)
        back.join()
        assert client.blob(Descriptor("", digest_bytes(data), len(data)), len(data)) == data
        client.close()
        assert len(registry.requests("POST", "/blobs/uploads/")) == 2


def test_what_a_registry_refuses_to_take_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "tool.sif").write_bytes(sif_of(b"data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with running(tmp_path / "r", auth="htpasswd") as registry:
        uri = f"oras://{registry.host}/org/tool:1"
        assert main(["push", str(tmp_path / "tool.sif"), uri]) == 1
        assert f"error: {uri}: {registry.host}: access was refused (401): " in capsys.readouterr().err
    assert main(["-q", "push", str(tmp_path / "tool.sif"), uri]) == 1
    assert f"error: {uri}: cannot reach {registry.host} " in capsys.readouterr().err


def test_push_and_login_use_the_projects_registries(tmp_path, monkeypatch):
    (tmp_path / "tool.sif").write_bytes(sif_of(b"data"))
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "r", tls=True, auth="htpasswd") as registry:
        login = ["registry", "login", "--authfile", "auth.json", "-u", USER, "--password-stdin", registry.host]
        push = ["push", "--authfile", "auth.json", "tool.sif", f"oras://{registry.host}/org/tool:1"]
        assert run(monkeypatch, login, PASSWORD) == 1, "the CA is not known"
        config = {"registries": {registry.host: {"ca-file": str(registry.authority.ca_file)}}}
        (tmp_path / "config").mkdir()
        (tmp_path / "config/config.yaml").write_text(json.dumps(config))
        assert run(monkeypatch, login, PASSWORD) == 0
        assert run(monkeypatch, push) == 0


def test_nothing_listens():
    with pytest.raises(RegistryError, match=r"cannot reach localhost:1 .*refused"):
        pull("docker://localhost:1/x")
