"""`python -m amrutam.stack.download FOLDER`: let the Temporal SDK fetch the CLI that it knows into a folder.

The SDK downloads when it starts a development server; this one is stopped as soon as it runs.
"""

import asyncio
import sys

from temporalio.testing import WorkflowEnvironment


async def _download(folder: str) -> None:
    environment = await WorkflowEnvironment.start_local(download_dest_dir=folder)  # pyright: ignore[reportUnknownMemberType] - the SDK's own signature leaves a type open
    await environment.shutdown()


if __name__ == "__main__":
    asyncio.run(_download(sys.argv[1]))
