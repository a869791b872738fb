"""Limits of a request: what its caller may spend, and how often somebody may guess at a secret."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from uuid import UUID

from amrutam.domain.errors import DomainError, RateLimited, Unavailable
from amrutam.domain.limits import ACCOUNT, DEVICE, DEVICES, HERE, NETWORK, SECOND
from amrutam.storage.guessing import Counter
from amrutam.telemetry import LIMITED
from amrutam.tokens import Principal
from web.addresses import network_of
from web.context import Call
from web.devices import known_device
from web.parsing import header


async def admit(call: Call, cost: int) -> bytes | None:
    """Spend `cost` units of the caller's: of the person who signed in, else of the network. Raises RateLimited.

    Answers the marker of the caller's session, None where it is not known.
    """
    services, context = call.services, call.request.ctx
    quotas, who = services.quotas, call.principal or _reader(call)
    if who is None:
        quota, policy = quotas.address, quotas.address_policy
        wait, spent, marker = await services.admissions.admit(f"address/{network_of(call.address)}", cost, quota)
    else:
        quota, policy = quotas.user, quotas.user_policy
        # On an open page nobody asks whether the session is live: the token only says whose quota it is.
        session_id = who.session_id if call.principal else None
        wait, spent, marker = await services.admissions.admit(_user(who.user_id), cost, quota, session_id)
    left = quota.units - -(-spent // quota.interval)  # `-(-a // b)` rounds up
    context.rate_limit = ((b"ratelimit", b'"default";r=%d;t=%d' % (left, -(-spent // SECOND))), policy)
    if wait:
        LIMITED.labels("address" if who is None else "user").inc()
        raise RateLimited.after(-(-wait // SECOND))
    return marker


@lru_cache(maxsize=4096)
def _user(user_id: UUID) -> str:
    """Whose quota it is."""
    return f"user/{user_id}"


def _reader(call: Call) -> Principal | None:
    """Who reads an open page with a good token, so that a clinic behind one address does not share one limit."""
    if call.roles or call.request.method not in {"GET", "HEAD"}:
        return None
    scheme, _, token = header(call.request, "authorization").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        return call.services.tokens.check(token.strip())
    except DomainError:
        return None


@asynccontextmanager
async def guessing(call: Call, purpose: str, subject: str = "", user_id: UUID | None = None) -> AsyncGenerator[None]:
    """Let the block check a secret that somebody sent. Raises RateLimited instead, when there were too many wrong ones.

    The block raises a DomainError for a wrong secret; without one the guess was right. `purpose` names the secret,
    `subject` whose it is, in any way that is the same each time and the same for accounts that are not there. With
    neither subject nor `user_id` only the network's guesses count: for secrets that nobody guesses one by one.
    """
    counters = await _counters(call, purpose, subject, user_id)
    wait = await call.services.guessing.take(counters)
    if wait:
        LIMITED.labels("guessing").inc()
        raise RateLimited.after(-(-wait // SECOND))
    try:
        yield
    except Unavailable:
        await call.services.guessing.settle(counters, right=False)
        raise
    except DomainError:
        raise  # a wrong one: it stays counted
    except Exception:
        await call.services.guessing.settle(counters, right=False)
        raise
    await call.services.guessing.settle(counters, right=True)


async def _counters(call: Call, purpose: str, subject: str, user_id: UUID | None) -> list[Counter]:
    """Known devices count apart from strangers, so that whatever those do the person can sign in.

    All of one account's also count together, and a new password does not begin that count anew: whoever may give
    themselves known devices, or change the password, has no more guesses at the second factor for it.
    """
    device = await known_device(call, user_id)
    if device:
        return [
            Counter(f"{purpose}/device/{device}", DEVICE, clears=True),
            Counter(f"{purpose}/devices/{user_id}", DEVICES, clears=False),
        ]
    network = network_of(call.address)
    # In demo everybody shares one address.
    counters = [Counter(f"network/{network}", NETWORK.scaled(call.services.settings.rate_limit_factor), clears=False)]
    if subject:
        whose = call.services.keyring.mark("guesses", purpose.encode(), subject.encode()).hex()
        counters.append(Counter(f"account/{whose}", ACCOUNT, clears=False))
        counters.append(Counter(f"here/{whose}/{network}", HERE, clears=True))
    return counters
