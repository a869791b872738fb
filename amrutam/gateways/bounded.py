"""Answers of gateways, bounded: nobody there may keep us waiting, fill our memory, or send us elsewhere."""

import asyncio
from collections.abc import Set
from contextlib import aclosing

import httpx

from amrutam.gateways.payments import MOST_BYTES, TIMEOUT_SECONDS, GatewayAway


async def answer_of(client: httpx.AsyncClient, request: httpx.Request, not_for_good: Set[int]) -> tuple[int, bytes]:
    """Status and body of an answer that is final: a success, or a refusal other than those that pass.

    `client` follows no redirects. Raises GatewayAway for any other status, no answer in time, or one that is too large.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await _read(client, request, not_for_good)
    except (httpx.HTTPError, TimeoutError) as error:
        raise GatewayAway(type(error).__name__) from None


async def _read(client: httpx.AsyncClient, request: httpx.Request, not_for_good: Set[int]) -> tuple[int, bytes]:
    async with aclosing(await client.send(request, stream=True)) as answer:
        status, content = answer.status_code, bytearray()
        if status in not_for_good or not (httpx.codes.is_success(status) or httpx.codes.is_client_error(status)):
            raise GatewayAway(f"status {status}")
        async for part in answer.aiter_raw():
            content += part
            if len(content) > MOST_BYTES:
                raise GatewayAway(f"an answer larger than {MOST_BYTES} bytes")
        return status, bytes(content)
