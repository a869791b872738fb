"""`python -m amrutam routes`: what it tells is what is mounted."""

import json

import pytest

from amrutam.cli import main
from tests.web.mounted import ROUTES, name


def test_every_route_is_printed_with_its_rules(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMRUTAM_MODE", "demo")
    assert main(["routes", "--json"]) == 0
    rows = {row["route"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {name(route) for route in ROUTES}
    assert rows["POST /v1/admin/invitations"] == {
        "route": "POST /v1/admin/invitations",
        "roles": ["admin"],
        "rule": "staff of this installation",
        "audit": True,
        "idempotency": "required",
        "limit": 10,
        "step_up": True,
    }
    assert rows["GET /v1/doctors"]["roles"] == ["everyone"]


def test_the_table_has_a_line_for_each_and_no_demo_route_in_production(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMRUTAM_MODE", raising=False)
    assert main(["routes"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["route", "roles", "rule", "audit", "idempotency", "limit", "step-up"]
    assert len(lines) == len(ROUTES) - 1
    assert not any("outbox" in line for line in lines)
    [sign_out] = [line for line in lines if line.startswith("POST /staff/sign-out ")]
    assert "admin, doctor, patient, support  the browser's own session" in sign_out
