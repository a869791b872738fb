"""What tests of one gateway share."""

from collections.abc import AsyncGenerator

import pytest

from tests.gateways.sandboxes import Running, running_sandbox


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Running]:
    """A payment sandbox that a module's tests share: each has orders of its own."""
    async with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running
