"""Which scheme a host is spoken to by (rows a17 and a18), on a transport that sends nothing."""

from __future__ import annotations

import pytest

from sifmake.errors import RegistryError
from sifmake.registry import Credentials, HostSettings
from sifmake.registry.certs_d import HostSettingsLookup
from sifmake.registry.endpoint import Endpoint, RegistryRequest
from sifmake.registry.transport import TransportError
from support.pulling import FAST, Messages

ASK = RegistryRequest("GET", "/v2/", "", {})
NOTHING = HostSettings()


class Answer:
    """An answer without a body."""

    place = ""

    def __init__(self, status, **headers):
        self.status, self.headers, self.url = status, {k.replace("_", "-"): v for k, v in headers.items()}, ""

    def read_all(self, _limit):
        return b""

    def close(self):
        pass


class Recorder:
    """A transport that answers from a table and notes what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def exchange(self, _method, url, headers, settings, **_):
        self.asked.append((url, headers.get("Authorization", ""), settings))
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        answer = answer.pop(0) if isinstance(answer, list) else answer
        answer.url = url
        return answer


def no_tls():
    return TransportError("does not use TLS", may_recover=True, reached=True, not_tls=True)


def ask(answers, host="registry.example", settings=NOTHING, credentials=None, **options):
    recorder = Recorder(answers)
    endpoint = Endpoint(host, settings, recorder, FAST, Messages(), lambda: credentials, **options)
    try:
        status = endpoint.request(ASK).status
    except Exception as error:  # noqa: BLE001
        status = error
    return status, [url for url, _, _ in recorder.asked], recorder


def test_a18_a_host_is_never_asked_without_tls_unless_configured():
    status, urls, _ = ask({"https://registry.example/v2/": no_tls()})
    assert isinstance(status, TransportError)
    assert set(urls) == {"https://registry.example/v2/"}


def test_a18_a_host_that_is_configured_as_plain_is_never_asked_by_tls():
    status, urls, _ = ask({"http://registry.example/v2/": Answer(200)}, settings=HostSettings(plain_http=True))
    assert (status, urls) == (200, ["http://registry.example/v2/"])


def test_a17_a_host_that_may_be_plain_is_asked_by_tls_first():
    both = {"https://localhost:5000/v2/": no_tls(), "http://localhost:5000/v2/": Answer(200)}
    status, urls, _ = ask(both, "localhost:5000", may_be_plain=True)
    assert (status, urls) == (200, list(both))
    status, urls, _ = ask({"https://localhost:5000/v2/": Answer(200)}, "localhost:5000", may_be_plain=True)
    assert (status, urls) == (200, ["https://localhost:5000/v2/"])


def test_an_untrusted_certificate_is_not_a_reason_for_plain_http():
    untrusted = TransportError("not trusted", may_recover=False, reached=True)
    status, urls, _ = ask({"https://localhost/v2/": untrusted}, "localhost", may_be_plain=True)
    assert status is untrusted
    assert urls == ["https://localhost/v2/"]


@pytest.mark.parametrize(
    ("target", "words"),
    [("http://cdn.example/x", "without TLS"), ("file:///etc/passwd", "redirects to"), ("ftp://x/y", "redirects to")],
)
def test_redirects_that_are_not_followed(target, words):
    status, urls, _ = ask({"https://registry.example/v2/": Answer(307, Location=target)})
    assert words in str(status)
    assert urls == ["https://registry.example/v2/"]


def test_credentials_are_not_sent_to_a_token_service_without_tls():
    challenge = Answer(401, WWW_Authenticate='Bearer realm="http://auth.example/token"')
    alice = Credentials("alice", "secret")
    status, urls, _ = ask({"https://registry.example/v2/": challenge}, credentials=alice)
    assert "send credentials to auth.example without TLS" in str(status)
    assert urls == ["https://registry.example/v2/"]


@pytest.mark.parametrize("credentials", [None, Credentials("alice", "hunter2")])
def test_a_token_service_on_the_registrys_own_host_is_asked_by_tls_whatever_it_calls_itself(credentials):
    challenge = Answer(401, WWW_Authenticate='Bearer realm="http://registry.example/token"')
    token = Answer(200)
    token.read_all = lambda _limit: b'{"token": "t"}'
    answers = {"https://registry.example/v2/": [challenge, Answer(200)], "https://registry.example/token": token}
    status, urls, _ = ask(answers, credentials=credentials)
    assert status == 200
    assert urls[1] == "https://registry.example/token"


def test_another_host_cannot_ask_for_credentials():
    asks = Answer(401, WWW_Authenticate='Bearer realm="https://evil.example/token"')
    answers = {
        "https://registry.example/v2/": Answer(307, Location="https://cdn.example/x"),
        "https://cdn.example/x": asks,
    }
    status, urls, _ = ask(answers, credentials=Credentials("alice", "secret"))
    assert "access was refused (401)" in str(status)
    assert urls == list(answers)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://registry.example/v2/x/blobs/uploads/1?s=2", "https://registry.example/v2/x/blobs/uploads/1?s=2"),
        ("https://registry.example/u", "https://registry.example/u"),
        ("https://store.example/u", "https://store.example/u"),
    ],
)
def test_a_registry_that_calls_itself_plain_is_still_spoken_to_by_tls(given, used):
    endpoint = Endpoint("registry.example", NOTHING, Recorder({}), FAST, Messages(), lambda: None)
    assert endpoint.own_url(given) == used


def test_uploads_do_not_go_from_tls_to_a_host_without():
    endpoint = Endpoint("registry.example", NOTHING, Recorder({}), FAST, Messages(), lambda: None)
    with pytest.raises(RegistryError, match=r"wants uploads sent to store\.example without TLS"):
        endpoint.own_url("http://user:hunter2@store.example/u")
    allowed = HostSettings(allow_http_redirects=True)
    endpoint = Endpoint("registry.example", allowed, Recorder({}), FAST, Messages(), lambda: None)
    assert endpoint.own_url("http://store.example/u") == "http://store.example/u"


@pytest.mark.parametrize("target", ["http://cdn.example/x", "http://127.0.0.1/x", "http://localhost:5000/x"])
def test_a_redirect_from_tls_to_none_is_followed_where_it_is_allowed(target):
    answers = {"https://registry.example/v2/": Answer(307, Location=target), target: Answer(200)}
    status, urls, _ = ask(answers)
    assert "without TLS" in str(status)
    assert "allow-http-redirects" in str(status)
    assert urls == ["https://registry.example/v2/"]
    assert ask(answers, settings=HostSettings(allow_http_redirects=True))[0] == 200


@pytest.mark.parametrize("realm", ["http://auth.example/token", "http://127.0.0.1/token"])
def test_a_token_service_without_tls_is_asked_where_it_is_allowed_and_never_with_credentials(realm):
    challenge = Answer(401, WWW_Authenticate=f'Bearer realm="{realm}"')
    token = Answer(200)
    token.read_all = lambda _limit: b'{"token": "t"}'
    answers = {"https://registry.example/v2/": [challenge, Answer(200)], realm: token}
    status, urls, _ = ask(answers)
    assert "names a token service at" in str(status)
    assert urls == ["https://registry.example/v2/"]
    allowed = HostSettings(allow_http_redirects=True)
    answers["https://registry.example/v2/"] = [challenge, Answer(200)]
    assert ask(answers, settings=allowed)[0] == 200
    answers["https://registry.example/v2/"] = [challenge, Answer(200)]
    status, urls, _ = ask(answers, settings=allowed, credentials=Credentials("alice", "hunter2"))
    assert "asks to send credentials to" in str(status)
    assert urls == ["https://registry.example/v2/"]


def test_credentials_are_not_sent_by_plain_http_to_a_registry_with_tls():
    recorder = Recorder({"http://registry.example/u": Answer(200)})
    endpoint = Endpoint("registry.example", NOTHING, recorder, FAST, Messages(), lambda: None)
    endpoint.authorizer._basic = "Basic secret"
    assert endpoint.request(RegistryRequest("GET", "http://registry.example/u", "", {})).status == 200
    assert recorder.asked[0][1] == ""


def test_a_client_certificate_and_ca_stay_with_their_host(tmp_path):
    own = HostSettings(ca_file=tmp_path / "ca", client_cert=tmp_path / "cert")
    answers = {
        "https://registry.example/v2/": Answer(307, Location="https://cdn.example/x"),
        "https://cdn.example/x": Answer(307, Location="https://registry.example:8443/y"),
        "https://registry.example:8443/y": Answer(200),
    }
    status, _, recorder = ask(answers, settings=own)
    assert status == 200
    used = [(settings.ca_file, settings.client_cert) for _, _, settings in recorder.asked]
    assert used == [(own.ca_file, own.client_cert), (None, None), (own.ca_file, None)]


def test_a_configured_host_keeps_its_own_settings_wherever_one_comes_from(tmp_path):
    others = {"cdn.example": HostSettings(ca_file=tmp_path / "other")}
    answers = {
        "https://registry.example/v2/": Answer(307, Location="https://cdn.example/x"),
        "https://cdn.example/x": Answer(200),
    }
    status, _, recorder = ask(answers, others=HostSettingsLookup(others, {}))
    assert status == 200
    assert recorder.asked[1][2] == others["cdn.example"]


def test_a_basic_password_goes_to_its_host_only():
    answers = {
        "https://registry.example/v2/": [
            Answer(401, WWW_Authenticate="Basic realm=x"),
            Answer(302, Location="https://cdn.example/x"),
        ],
        "https://cdn.example/x": Answer(200),
    }
    status, _, recorder = ask(answers, credentials=Credentials("alice", "secret"))
    assert status == 200
    assert [authorization.partition(" ")[0] for _, authorization, _ in recorder.asked] == ["", "Basic", ""]


@pytest.mark.parametrize(
    ("own", "used"),
    [
        (HostSettings(more_ca=("ca",), client_cert="c"), HostSettings(more_ca=("ca",))),
        (HostSettings(ca_file="ca"), HostSettings(more_ca=("ca",))),
        (HostSettings(), HostSettings()),
    ],
)
def test_the_authority_of_a_registry_counts_for_the_token_service_it_names(own, used):
    answers = {
        "https://registry.example/v2/": Answer(401, WWW_Authenticate='Bearer realm="https://auth.example/token"'),
        "https://auth.example/token": Answer(403),
    }
    _, _, recorder = ask(answers, settings=own)
    assert recorder.asked[-1] == ("https://auth.example/token", "", used)
