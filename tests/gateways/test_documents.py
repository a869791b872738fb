"""Documents in a folder and in a bucket: the same promises."""

import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE

import pytest

from amrutam.domain.documents import SEALED, MediaType, Purpose, key_of
from amrutam.gateways.documents import (
    DocumentMissing,
    Documents,
    DocumentsUnavailable,
    Kept,
    documents_for,
)
from amrutam.ids import new_id
from amrutam.settings import Settings
from tests.gateways.s3_server import ACCESS, BUCKET, HIDDEN, REGION, S3Server, s3_server


def _settings(settings: Settings, **told: object) -> Settings:
    return Settings.model_validate(settings.model_dump() | told)


def _bucket(settings: Settings, store: S3Server, secret: str = HIDDEN) -> Documents:
    return documents_for(
        _settings(
            settings,
            documents_url=f"s3://{BUCKET}/clinic/a",
            documents_s3_endpoint=store.url,
            documents_s3_region=REGION,
            documents_s3_access_key=ACCESS,
            documents_s3_secret_key=secret,
        )
    )


@pytest.fixture
async def store() -> AsyncGenerator[S3Server]:
    """What speaks S3."""
    async with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def documents(request: pytest.FixtureRequest, settings: Settings, store: S3Server, tmp_path: Path) -> Documents:
    """Either of the stores, empty."""
    if request.param == "folder":
        return documents_for(_settings(settings, documents_url=(tmp_path / "a b").as_uri()))
    return _bucket(settings, store)


def _key(content_type: str = MediaType.WEBP) -> str:
    return key_of(Purpose.PHOTO, new_id(), content_type)


async def _older(documents: Documents, after: str, moment: datetime) -> set[str]:
    return {key async for page in documents.older("photo", after, moment) for key in page}


async def test_what_was_put_is_got_with_its_type_and_is_gone_once_deleted(documents: Documents) -> None:
    for content_type in (MediaType.WEBP, MediaType.PDF, SEALED):
        key = _key(content_type)
        await documents.put(key, b"content")
        await documents.put(key, b"content")
        assert await documents.get(key) == Kept(b"content", content_type)
        await documents.delete(key)
        await documents.delete(key)
        with pytest.raises(DocumentMissing):
            await documents.get(key)


async def test_a_large_object_comes_back_whole(documents: Documents) -> None:
    key, content = _key(SEALED), os.urandom(11 * 1024 * 1024)
    await documents.put(key, content)
    assert (await documents.get(key)).content == content


async def test_a_key_that_tells_no_type_is_not_taken(documents: Documents) -> None:
    for key in ("photo/x", "photo/x.exe"):
        with pytest.raises(ValueError, match=key):
            await documents.put(key, b"")


async def test_objects_are_found_by_their_age_and_their_place(documents: Documents) -> None:
    now = datetime.now(UTC)
    keys = sorted(_key() for _ in range(5))
    for key in keys:
        await documents.put(key, b"x")
    await documents.put(key_of(Purpose.VERIFICATION, new_id(), SEALED), b"x")
    later = now + timedelta(minutes=1)
    assert await _older(documents, "photo/", later) == set(keys)
    assert await _older(documents, keys[1], later) == set(keys[2:])
    assert await _older(documents, "photo/", now - timedelta(minutes=1)) == set()


async def test_a_bucket_is_told_the_type_and_keeps_to_its_prefix(settings: Settings, store: S3Server) -> None:
    key = _key()
    await _bucket(settings, store).put(key, b"x")
    assert {name: each.content_type for name, each in store.objects.items()} == {f"clinic/a/{key}": "image/webp"}


async def test_a_bucket_that_stumbles_is_asked_again(settings: Settings, store: S3Server) -> None:
    documents, key = _bucket(settings, store), _key()
    store.fails = 1
    await documents.put(key, b"x")
    store.fails = 1
    assert (await documents.get(key)).content == b"x"
    assert store.asked == ["PUT", "PUT", "GET", "GET"]


async def test_a_bucket_that_is_away_or_refuses_is_told_from_a_document_that_is_missing(
    settings: Settings, store: S3Server
) -> None:
    refused = _bucket(settings, store, secret="another")
    away = documents_for(
        _settings(
            settings,
            documents_url=f"s3://{BUCKET}",
            documents_s3_endpoint="http://127.0.0.1:1",
            documents_s3_access_key=ACCESS,
            documents_s3_secret_key=HIDDEN,
        )
    )
    for documents in (refused, away):
        with pytest.raises(DocumentsUnavailable):
            await documents.put(_key(), b"x")
        with pytest.raises(DocumentsUnavailable):
            await documents.get(_key())
        with pytest.raises(DocumentsUnavailable):
            await documents.delete(_key())
        with pytest.raises(DocumentsUnavailable):
            await _older(documents, "photo/", datetime.now(UTC))
    assert store.objects == {}


async def test_a_folder_that_is_full_or_gone_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    documents = documents_for(_settings(settings, documents_url=folder.as_uri()))
    assert S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()
    folder.write_text("a file where the folder was")
    with pytest.raises(DocumentsUnavailable):
        await documents.put(_key(), b"x")


@pytest.mark.parametrize("url", [None, "", "https://bucket", "s3://", "s3:///prefix", "file://folder", "file:folder"])
def test_a_place_that_cannot_be_used_is_refused(settings: Settings, url: str | None) -> None:
    with pytest.raises(ValueError, match="DOCUMENTS_URL"):
        documents_for(_settings(settings, documents_url=url))
