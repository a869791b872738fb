"""Where a request comes from: the connection's other end, or what a proxy of ours says of it.

`X-Forwarded-For` is anybody's to write. It is read from the right, and only for as long as the hop that wrote the entry
is one of `TRUSTED_PROXIES`; the first entry that no proxy of ours stands for is the client.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import cast

from sanic import Request

Network = IPv4Network | IPv6Network

# Where the connection has no address, as on a socket in the file system.
UNKNOWN = "0.0.0.0"  # noqa: S104 - nothing is bound to it
# One household or one machine gets this much of IPv6, and may change its address within it at will.
_HOUSEHOLD = 64


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The client's address, IPv6 in its shortest form, IPv4 within IPv6 as IPv4."""
    peer = _normal(request.ip or "") or UNKNOWN
    if not trusted:
        return peer
    forwarded = cast("list[str]", request.headers.getall("x-forwarded-for", []))
    return _client(peer, ",".join(forwarded).split(",") if forwarded else [], trusted)


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What one client can be taken for: an IPv4 address, or the /64 of an IPv6 one."""
    parsed = ip_address(address)
    return address if isinstance(parsed, IPv4Address) else str(IPv6Network((parsed, _HOUSEHOLD), strict=False))


def _client(peer: str, forwarded: Sequence[str], trusted: Iterable[Network]) -> str:
    """From the nearest hop outwards. An entry that is no address ends the search: its writer is all that is known."""
    client = peer
    for entry in reversed(forwarded):
        if not _among(client, trusted):
            break
        hop = _normal(_without_port(entry.strip()))
        if hop is None:
            break
        client = hop
    return client


def _among(address: str, networks: Iterable[Network]) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


def _without_port(entry: str) -> str:
    """`192.0.2.1:443` and `[2001:db8::1]:443` are how some proxies write an address."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


@lru_cache(maxsize=4096)
def _normal(address: str) -> str | None:
    """The one way to write it, without a zone; None for what is no address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
