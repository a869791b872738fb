"""Documents: a protocol, and objects in an S3 bucket or in a folder.

A key is written once and its content never changes, so a copy of it may be kept anywhere. What is about a person comes
here sealed already.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from amrutam.domain.documents import content_type_of
from amrutam.settings import Settings

if TYPE_CHECKING:  # they are not there at run time
    from obstore.store import ClientConfig, RetryConfig, S3Config

# One try, and all of them: under a request's own time, so that its client hears of it.
CONNECT = timedelta(seconds=2)
ONE_TRY = timedelta(seconds=5)
ALL_TRIES = timedelta(seconds=8)
RETRIES = 2
# Objects of one answer of a listing.
PAGE = 1000


class DocumentMissing(LookupError):
    """No object has this key."""


class DocumentsUnavailable(Exception):
    """The store is away or refuses us; try again. Says which."""


class Kept(NamedTuple):
    """An object."""

    content: bytes
    content_type: str


class Documents(Protocol):
    """Keeps objects by key. A key's ending tells its content type (`domain.documents.ENDINGS`)."""

    async def put(self, key: str, content: bytes) -> None:
        """Keep an object, whole or not at all; again is the same. Raises ValueError for a key that tells no type,
        DocumentsUnavailable.
        """
        ...

    async def get(self, key: str) -> Kept:
        """The object. Raises DocumentMissing, DocumentsUnavailable."""
        ...

    async def delete(self, key: str) -> None:
        """Let it be gone; gone already is as good. Raises DocumentsUnavailable."""
        ...

    def older(self, prefix: str, after: str, moment: datetime) -> AsyncIterator[list[str]]:
        """Keys under `prefix`, beyond `after` in their order, of objects last written before `moment`, in pages.

        Raises DocumentsUnavailable.
        """
        ...


def documents_for(settings: Settings) -> Documents:
    """The store that the settings name. Raises ValueError for a DOCUMENTS_URL that cannot be used."""
    url = urlsplit(settings.documents_url or "")
    if url.scheme == "file" and not url.netloc and url.path.startswith("/"):
        return DocumentFolder(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        return DocumentBucket(url.netloc, url.path.strip("/"), settings)
    raise ValueError("DOCUMENTS_URL: should look like file:///folder or s3://bucket/prefix")


class _Objects:
    """What both stores have in common."""

    def __init__(self, store: "LocalStore | S3Store", *, told_types: bool) -> None:
        self._store = store
        self._told_types = told_types

    async def put(self, key: str, content: bytes) -> None:
        content_type = content_type_of(key)
        attributes = {"Content-Type": content_type} if self._told_types else None
        with _away():
            await obstore.put_async(self._store, key, content, attributes=attributes, use_multipart=False)

    async def get(self, key: str) -> Kept:
        with _away():
            try:
                answer = await obstore.get_async(self._store, key)
                return Kept(bytes(await answer.bytes_async()), content_type_of(key))
            except FileNotFoundError:
                raise DocumentMissing(key) from None

    async def delete(self, key: str) -> None:
        with _away():
            await obstore.delete_async(self._store, key)

    async def older(self, prefix: str, after: str, moment: datetime) -> AsyncGenerator[list[str]]:
        with _away():
            async for page in obstore.list(self._store, prefix, offset=after, chunk_size=PAGE):
                yield [each["path"] for each in page if each["last_modified"] < moment]


class DocumentBucket(_Objects):
    """Objects in a bucket of S3, or of what speaks its protocol."""

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        endpoint, secret = settings.documents_s3_endpoint, settings.documents_s3_secret_key
        # One object at a time is deleted, which every store of this protocol can; not all know many at once.
        config: S3Config = {"region": settings.documents_s3_region, "disable_bulk_delete": True}
        if endpoint:
            config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        if settings.documents_s3_access_key and secret:
            config |= {
                "access_key_id": settings.documents_s3_access_key,
                "secret_access_key": secret.get_secret_value(),
            }
        client: ClientConfig = {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": CONNECT,
            "timeout": ONE_TRY,
        }
        retry: RetryConfig = {"max_retries": RETRIES, "retry_timeout": ALL_TRIES}
        store = S3Store(bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)
        super().__init__(store, told_types=True)


class DocumentFolder(_Objects):
    """Objects as files, for one machine. A file system keeps no content type: the key's ending tells it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        super().__init__(LocalStore(folder), told_types=False)

    async def put(self, key: str, content: bytes) -> None:
        await super().put(key, content)
        await asyncio.to_thread(self._to_disk, key)

    async def delete(self, key: str) -> None:
        with _away(), suppress(FileNotFoundError):  # a bucket says nothing of what is gone; a file system does
            await obstore.delete_async(self._store, key)

    def _to_disk(self, key: str) -> None:
        """Not in memory alone: the row that comes after says that it is there."""
        path = self._folder / key
        with _away():
            for each in (path, path.parent):
                handle = os.open(each, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)


@contextmanager
def _away() -> Generator[None]:
    """Whatever the store cannot do. Raises DocumentsUnavailable with the first line of why."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise DocumentsUnavailable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
