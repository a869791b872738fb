"""The mails that demo mode keeps, and the page that their links lead to."""

import re

import httpx
import pytest

from amrutam.domain.common import Role
from tests.people import People
from tests.web.accounts import Outbox, new_address, register, token_in


async def test_the_newest_mail_comes_first_and_only_those_to_the_address_asked_for(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, new_address())
    for _ in range(2):
        await register(api, email)
    mails = await outbox(email, 2)
    assert {mail["to"] for mail in mails} == {email}
    assert mails == sorted(mails, key=lambda mail: mail["id"], reverse=True)
    assert mails[0].keys() == {"id", "channel", "to", "subject", "text", "attachments", "created_at"}


@pytest.mark.parametrize("role", [Role.PATIENT, Role.DOCTOR, Role.SUPPORT])
async def test_only_an_administrator_reads_the_outbox(api: httpx.AsyncClient, people: People, role: Role) -> None:
    somebody = await people.staff(role)
    assert (await api.get("/v1/admin/outbox", headers=somebody.headers)).status_code == 403
    assert (await api.get("/v1/admin/outbox")).status_code == 401


async def test_the_page_of_a_link_runs_its_own_script_alone_and_repeats_no_token(
    api: httpx.AsyncClient, outbox: Outbox
) -> None:
    email = new_address()
    await register(api, email)
    token = token_in((await outbox(email))[0])
    first, second = [await api.get("/verify-email", params={"token": token}) for _ in range(2)]

    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["referrer-policy"] == "no-referrer"
    assert first.headers["cache-control"] == "no-store"
    policy = first.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    nonces = set(re.findall(r"'nonce-([\w-]+)'", policy))
    assert set(re.findall(r'nonce="([\w-]+)"', first.text)) == nonces
    assert nonces.isdisjoint(re.findall(r"'nonce-([\w-]+)'", second.headers["content-security-policy"]))
    assert token not in first.text
    assert not re.search(r"""(src|href)=|https?://""", first.text)
