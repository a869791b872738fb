"""The payment sandbox as a part of the stack."""

from pathlib import Path

import pytest

from amrutam.stack.applications import Demo
from amrutam.stack.errors import StackError
from amrutam.stack.folders import Folders
from amrutam.stack.ports import LOOPBACK
from amrutam.stack.sandbox import Sandbox

DEMO = Demo(LOOPBACK, 8000, 9464, 9465)
TOLD = {"PUBLIC_URL": DEMO.url}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path)
    folders.make()
    return folders


def test_its_keys_are_made_once_and_only_their_owner_can_read_them(folders: Folders) -> None:
    told = Sandbox.of(folders, DEMO, TOLD).environment()
    assert told["PAYMENT_SANDBOX_URL"] == "http://127.0.0.1:8010"
    assert len({*told.values()}) == 3
    assert Sandbox.of(folders, DEMO, TOLD).environment() == told
    [file] = folders.sandbox.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_its_port_can_be_chosen_and_must_be_one(folders: Folders) -> None:
    assert Sandbox.of(folders, DEMO, TOLD | {"SANDBOX_PORT": "9010"}).url == "http://127.0.0.1:9010"
    with pytest.raises(StackError, match="SANDBOX_PORT=http is not a port"):
        Sandbox.of(folders, DEMO, TOLD | {"SANDBOX_PORT": "http"})
