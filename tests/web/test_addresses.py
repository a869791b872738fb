"""Where a request comes from, whatever its sender writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic import Request
from sanic.compat import Header

from web.addresses import UNKNOWN, Network, client_address, network_of

PROXIES: Sequence[Network] = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


@dataclass
class Sent:
    """As much of a request as an address needs."""

    ip: str
    headers: Header = field(default_factory=Header)


def _address(peer: str, *forwarded: str, trusted: Sequence[Network] = PROXIES) -> str:
    request: object = Sent(peer, Header([("X-Forwarded-For", value) for value in forwarded]))
    return client_address(cast("Request", request), trusted)


def test_without_proxies_it_is_the_peer_whatever_was_forwarded() -> None:
    assert _address("192.0.2.1", "198.51.100.7", trusted=[]) == "192.0.2.1"


def test_what_a_stranger_forwards_is_not_believed() -> None:
    assert _address("192.0.2.1", "198.51.100.7") == "192.0.2.1"


def test_what_our_proxy_forwards_is_the_client() -> None:
    assert _address("10.0.0.1", "198.51.100.7") == "198.51.100.7"


def test_through_several_of_our_proxies_it_is_the_last_that_is_not_ours() -> None:
    assert _address("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.1.1.1,10.2.2.2") == "198.51.100.7"
    assert _address("10.0.0.1", "203.0.113.9, 198.51.100.7", "10.1.1.1") == "198.51.100.7"


def test_a_client_within_our_own_network_is_the_farthest_hop() -> None:
    assert _address("10.0.0.1", "10.9.9.9, 10.1.1.1") == "10.9.9.9"
    assert _address("10.0.0.1") == "10.0.0.1"


def test_an_entry_that_is_no_address_ends_the_search() -> None:
    assert _address("10.0.0.1", "198.51.100.7, unknown, 10.1.1.1") == "10.1.1.1"
    assert _address("10.0.0.1", "198.51.100.7, ") == "10.0.0.1"


@pytest.mark.parametrize(
    "written",
    ["198.51.100.7:4711", "[2001:db8::7]:443", "[2001:DB8:0::7]", "2001:db8::7%eth0"],
)
def test_an_address_may_come_with_a_port_brackets_or_a_zone(written: str) -> None:
    assert _address("10.0.0.1", written) in {"198.51.100.7", "2001:db8::7"}


def test_one_address_is_written_one_way() -> None:
    assert _address("2001:0db8:0000::0001", trusted=[]) == "2001:db8::1"
    assert _address("::ffff:192.0.2.1", trusted=[]) == "192.0.2.1"
    assert _address("::ffff:10.0.0.1", "::ffff:198.51.100.7") == "198.51.100.7"


def test_a_connection_without_an_address_has_one_that_is_nobodys() -> None:
    assert _address("") == UNKNOWN


def test_a_network_is_an_address_or_the_half_of_ipv6_that_is_given_to_one_household() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::") != network_of("2001:db8:1:2::")


@given(st.lists(st.text(max_size=40), max_size=5))
def test_whatever_is_forwarded_the_answer_is_an_address(forwarded: list[str]) -> None:
    assert network_of(_address("10.0.0.1", *forwarded))
