"""Text that registries and users send: nothing makes the parsers fail in another way than they say."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from sifmake.errors import BadReferenceError, IntegrityError, SourceError
from sifmake.oci import parse_config, parse_document
from sifmake.reference import default_sif_name, parse_reference, parse_uri
from sifmake.registry.challenge import parse_challenges
from sifmake.registry.retry import retry_after

WORDS = st.text(alphabet='aAz09._-:/@= ,"\\\tBearrealm', max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["config", "layers", "manifests", "rootfs", "diff_ids", "digest", "size"]), inner
        )
    ),
    max_leaves=12,
)


@given(WORDS)
def test_references_are_refused_or_stay_what_they_are(text):
    with contextlib.suppress(BadReferenceError):
        reference = parse_reference(text)
        assert parse_reference(reference.canonical) == reference
        assert parse_reference(reference.familiar) == reference


@given(WORDS)
def test_a_file_name_is_one(text):
    with contextlib.suppress(BadReferenceError):
        name = default_sif_name(parse_uri(f"docker://{text}"))
        assert "/" not in name
        assert name.endswith(".sif")


@given(WORDS | st.text(max_size=40))
def test_headers_are_never_an_error(text):
    assert all(challenge.scheme for challenge in parse_challenges(text))
    assert (retry_after(text) or 0) >= 0


@given(JSON)
def test_documents_are_read_or_refused(document):
    data = json.dumps(document).encode()
    for parse, errors in ((parse_document, SourceError), (parse_config, IntegrityError)):
        with contextlib.suppress(errors):
            parse(data)
