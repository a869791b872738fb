"""Scripts in Redis, and what whoever runs them hears while it is away."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from amrutam.settings import Settings
from amrutam.storage.breaker import RedisAway
from amrutam.storage.scripts import Scripts
from tests.polling import until
from tests.tcp_proxy import Behaviour, TcpProxy, proxy_to

ECHO = "return ARGV[1]"


@asynccontextmanager
async def _behind_proxy(settings: Settings) -> AsyncGenerator[tuple[Scripts, TcpProxy]]:
    """Scripts whose way to Valkey can be troubled."""
    port = urlsplit(settings.redis_url.get_secret_value()).port or 0
    async with proxy_to(port, seed=1) as proxy:
        scripts = Scripts(f"redis://127.0.0.1:{proxy.port}/0")
        yield scripts, proxy
        await scripts.close()


async def test_a_script_that_redis_has_forgotten_is_sent_again(settings: Settings, redis: Redis) -> None:
    scripts = Scripts(settings.redis_url.get_secret_value())
    assert await until(lambda: _answer(scripts)) == b"x"
    await redis.script_flush()
    assert await until(lambda: _answer(scripts)) == b"x"
    await scripts.close()


async def test_away_from_the_start_it_is_used_once_it_is_there(settings: Settings) -> None:
    async with _behind_proxy(settings) as (scripts, proxy):
        await proxy.turn(Behaviour.REFUSE)
        for _ in range(20):
            with pytest.raises(RedisAway):
                await scripts.run(ECHO, [], "x")
        await proxy.turn(Behaviour.OPEN)
        assert await until(lambda: _answer(scripts)) == b"x"


@pytest.mark.parametrize("fault", [Behaviour.REFUSE, Behaviour.HANG, Behaviour.CUT])
async def test_who_waits_when_it_goes_away_is_told_and_it_is_used_again_afterwards(
    settings: Settings, fault: Behaviour
) -> None:
    async with _behind_proxy(settings) as (scripts, proxy):
        assert await until(lambda: _answer(scripts)) == b"x"
        await proxy.turn(fault)
        answers = await asyncio.gather(*(scripts.run(ECHO, [], n) for n in range(50)), return_exceptions=True)
        assert all(isinstance(answer, RedisAway) for answer in answers)
        await proxy.turn(Behaviour.OPEN)
        assert await until(lambda: _answer(scripts)) == b"x"


async def _answer(scripts: Scripts) -> bytes | None:
    try:
        return await scripts.run(ECHO, [], "x")
    except RedisAway:
        return None
