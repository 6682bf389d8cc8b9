import os
import time
from datetime import UTC, datetime

import pytest

from sifmake.rootfs.gojson import indented
from sifmake.rootfs.labels import build_date, make_labels, parse_created
from sifmake.rootfs.model import Origin
from support.corpus import needs_corpus
from support.golden import GOLDEN

DIGEST = "sha256:" + "1" * 64
LOCAL = Origin("oci-archive", "app.tar", "", DIGEST)
REGISTRY = Origin("docker", "alpine:3.18", "docker.io/library/alpine:3.18", DIGEST)
CREATED = "2017-07-14T02:40:00Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2017-07-14T02:40:00Z", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
        ("2017-07-14T02:40:00.123456789Z", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
        ("2017-07-14T04:40:00+02:00", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
        ("2017-07-13T19:10:00.5-07:30", datetime(2017, 7, 14, 2, 40, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        ("2017-07-14", None),
        ("2017-13-14T02:40:00Z", None),
        ("2017-07-14T02:40:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("\uff12017-07-14T02:40:00Z", None),
    ],
)
def test_times_are_read_as_rfc3339_in_utc(text, moment):
    assert parse_created(text) == moment


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "UTC"])
def test_build_date_has_the_peers_form_in_any_time_zone(zone, monkeypatch):
    # The form and both values are those that Apptainer wrote (corpus golden/misc.json).
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert build_date(parse_created(CREATED)) == "Friday_14_July_2017_2:40:0_UTC"
    assert build_date(parse_created("2021-02-03T04:05:06Z")) == "Wednesday_3_February_2021_4:5:6_UTC"
    monkeypatch.delenv("TZ")
    time.tzset()


@needs_corpus
def test_labels_json_has_the_peers_form():
    import json

    theirs = json.loads((GOLDEN / "misc.json").read_bytes())["text of /.singularity.d/labels.json"]["A"]
    labels = make_labels({}, {}, Origin("oci", "oci/scratch-noelf", "", DIGEST), CREATED, "amd64")
    labels["org.label-schema.usage.apptainer.version"] = "1.5.3-dev"
    del labels["org.opencontainers.image.base.digest"]
    assert indented(dict(sorted(labels.items()))).decode() == theirs


def test_order_of_precedence():
    own = {
        "org.label-schema.build-arch": "vax",
        "org.label-schema.build-date": "long ago",
        "org.opencontainers.image.architecture": "m68k",
        "org.opencontainers.image.created": "2019",
        "org.opencontainers.image.base.digest": "sha256:of-the-base",
        "org.label-schema.usage.apptainer.version": "0.1",
        "mine": "image",
        "a<b": "",
    }
    labels = make_labels(own, {"mine": "configured", "org.label-schema.build-arch": "z80"}, LOCAL, CREATED, "arm64")
    assert labels == {
        "a<b": "",
        "mine": "configured",
        "org.label-schema.build-arch": "z80",
        "org.label-schema.build-date": "Friday_14_July_2017_2:40:0_UTC",
        "org.label-schema.schema-version": "1.0",
        "org.label-schema.usage.apptainer.version": "0.1",
        "org.label-schema.usage.singularity.deffile.bootstrap": "oci-archive",
        "org.label-schema.usage.singularity.deffile.from": "app.tar",
        "org.opencontainers.image.architecture": "m68k",
        "org.opencontainers.image.base.digest": DIGEST,
        "org.opencontainers.image.created": "2019",
    }
    assert list(labels) == sorted(labels)


def test_a_registry_image_names_its_reference():
    own = {"org.opencontainers.image.base.name": "debian:12"}
    labels = make_labels(own, {}, REGISTRY, CREATED, "amd64")
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/alpine:3.18"
    assert labels["org.opencontainers.image.base.digest"] == DIGEST
    assert labels["org.opencontainers.image.created"] == CREATED
    # Without a reference the image's own base name would stand beside a digest that is not the base's.
    assert "org.opencontainers.image.base.name" not in make_labels(own, {}, LOCAL, CREATED, "amd64")


def test_without_a_creation_time_there_is_not_a_date():
    labels = make_labels({}, {}, LOCAL, "", "amd64")
    assert not {"org.label-schema.build-date", "org.opencontainers.image.created"} & labels.keys()
    assert (
        make_labels({}, {}, LOCAL, "0999-01-01T00:00:00Z", "amd64")["org.opencontainers.image.created"]
        == "0999-01-01T00:00:00Z"
    )


def test_labels_do_not_depend_on_the_clock(monkeypatch):
    before = make_labels({}, {}, LOCAL, CREATED, "amd64")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1")
    assert make_labels({}, {}, LOCAL, CREATED, "amd64") == before
