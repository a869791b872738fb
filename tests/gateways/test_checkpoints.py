"""Checkpoints as files: signed, written once, and of no use once touched."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from amrutam.crypto import Keyring
from amrutam.domain.audit_seals import Place, Seal
from amrutam.gateways.checkpoints import CheckpointError, CheckpointFolder

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
KEYRING = Keyring.model_validate_json(Keyring.generate("demo"))


def _seal(number: int) -> Seal:
    return Seal(number, Place(number, UUID(int=number)), b"marks", bytes([number % 256]) * 32)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """With the checkpoints of three seals, far apart."""
    folder = CheckpointFolder(tmp_path, KEYRING)
    for number in (1, 9_999, 20_000):
        assert folder.write(_seal(number), NOW)
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_they_are_read_in_the_order_of_their_seals(folder: CheckpointFolder) -> None:
    read = list(folder.read(0))
    assert [each.number for each in read] == [1, 9_999, 20_000]
    assert [each.digest for each in read] == [_seal(each.number).digest.hex() for each in read]
    assert {each.made_at for each in read} == {NOW}


def test_reading_may_begin_later(folder: CheckpointFolder, tmp_path: Path) -> None:
    first, *_ = _files(tmp_path)
    first.chmod(0o600)
    first.write_text("not looked at")
    assert [each.number for each in folder.read(9_999)] == [9_999, 20_000]
    assert [each.number for each in folder.read(10_000)] == [20_000]


def test_one_that_is_there_is_never_written_again(folder: CheckpointFolder, tmp_path: Path) -> None:
    before = [file.read_bytes() for file in _files(tmp_path)]
    assert not folder.write(_seal(1)._replace(digest=b"x" * 32), NOW)
    assert [file.read_bytes() for file in _files(tmp_path)] == before
    assert {file.stat().st_mode & 0o777 for file in _files(tmp_path)} == {0o400}


@pytest.mark.parametrize("field", ["number", "digest", "made_at"])
def test_one_that_was_changed_is_named(folder: CheckpointFolder, tmp_path: Path, field: str) -> None:
    file = _files(tmp_path)[1]
    said = json.loads(file.read_text())
    said[field] = {"number": 9_998, "digest": "00" * 32, "made_at": "2026-03-01T10:00:01Z"}[field]
    file.chmod(0o600)
    file.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=file.name):
        list(folder.read(0))


@pytest.mark.parametrize("text", ["", "{}", "not JSON"])
def test_what_is_no_checkpoint_is_named(folder: CheckpointFolder, tmp_path: Path, text: str) -> None:
    file = _files(tmp_path)[0]
    file.chmod(0o600)
    file.write_text(text)
    with pytest.raises(CheckpointError, match=file.name):
        list(folder.read(0))


def test_one_that_was_put_in_the_place_of_another_is_named(folder: CheckpointFolder, tmp_path: Path) -> None:
    first, second, _ = _files(tmp_path)
    second.chmod(0o600)
    second.write_bytes(first.read_bytes())
    with pytest.raises(CheckpointError, match="holds the checkpoint of seal 1"):
        list(folder.read(0))


def test_one_of_another_installation_is_refused(folder: CheckpointFolder, tmp_path: Path) -> None:
    assert list(folder.read(0))
    other = Keyring.model_validate_json(Keyring.generate("demo"))
    with pytest.raises(CheckpointError, match="signed with key"):
        list(CheckpointFolder(tmp_path, other).read(0))


def test_a_folder_that_is_not_there_yet_holds_none(tmp_path: Path) -> None:
    assert list(CheckpointFolder(tmp_path / "later", KEYRING).read(0)) == []
