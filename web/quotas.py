"""What requests cost, and what a caller may spend, in units of a quota."""

from dataclasses import dataclass

from amrutam.domain.limits import Quota
from amrutam.settings import Settings

NOTHING = 0  # not limited at all
READ = 1
WRITE = 2
SEARCH = 3
PASSWORD = 10  # or a mail to somebody
UPLOAD = 30


def default_cost(method: str) -> int:
    """Of a route that declares none."""
    return READ if method == "GET" else WRITE


@dataclass(frozen=True)
class Quotas:
    """What a caller may spend, with the header that says so (draft-ietf-httpapi-ratelimit-headers)."""

    user: Quota
    address: Quota
    user_policy: tuple[bytes, bytes]
    address_policy: tuple[bytes, bytes]

    @classmethod
    def of(cls, settings: Settings) -> "Quotas":
        """As the settings have it."""
        seconds, factor = settings.rate_limit_seconds, settings.rate_limit_factor
        user = Quota(settings.rate_limit_user_units * factor, seconds)
        address = Quota(settings.rate_limit_address_units * factor, seconds)
        return cls(user, address, _policy(user), _policy(address))


def _policy(quota: Quota) -> tuple[bytes, bytes]:
    return (b"ratelimit-policy", b'"default";q=%d;w=%d' % (quota.units, quota.seconds))
