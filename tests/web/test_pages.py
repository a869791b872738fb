"""The pages that links in mails lead to."""

import re

import httpx
import pytest

PATHS = ["/verify-email", "/reset-password", "/change-email"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_runs_its_own_script_alone_and_leaks_no_token(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path, params={"token": "a-token-that-nobody-knows"})
    policy = answer.headers["content-security-policy"]
    [nonce] = set(re.findall(r"'nonce-([\w-]+)'", policy))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert set(re.findall(r"<(?:script|style) nonce=\"([\w-]+)\"", answer.text)) == {nonce}
    assert answer.text.count("<script") == 1
    assert "a-token-that-nobody-knows" not in answer.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"(?:src|href)=|https?://", answer.text)


@pytest.mark.parametrize("path", PATHS)
async def test_each_answer_has_a_nonce_of_its_own(api: httpx.AsyncClient, path: str) -> None:
    policies = {(await api.get(path)).headers["content-security-policy"] for _ in range(2)}
    assert len(policies) == 2
