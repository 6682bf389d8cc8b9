"""Addresses that others have written: whole, without a user, and shown without what may be secret."""

from __future__ import annotations

import pytest

from sifmake.reference.address import shown_address, whole_address, without_secrets


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
        ("/x", "https://registry.example/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("https://user:word@cdn.example:1/x", "https://cdn.example:1/x"),
        ("https://user@cdn.example/x", "https://cdn.example/x"),
        ("//user:word@cdn.example/x", "https://cdn.example/x"),
        ("https://a:b@c:d@cdn.example/x@y", "https://cdn.example/x@y"),
        ("ftp://cdn.example/x", ""),
        ("https://user:word@", ""),
        ("https://[bad", ""),
    ],
)
def test_a_whole_address_names_no_user(address, whole):
    assert whole_address("https://registry.example/v2/", address) == whole


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:word@h/x?sig=1#f", "https://h/x"),
        ("https://user:wo/rd@h/x", "https://h/x"),
        ("https://h/x", "https://h/x"),
        ("user:word@h", "user:word@h"),
        ("", ""),
    ],
)
def test_what_is_shown_of_an_address(address, shown):
    assert shown_address(address) == shown


def test_a_text_loses_what_its_addresses_hold():
    text = "Failed to parse: https://user:word@[bad/x?sig=1, and 'http://h/y#z' too"
    assert without_secrets(text) == "Failed to parse: https://[bad/x and 'http://h/y' too"
