"""Hours of doctors, in short."""

from typing import Any

from amrutam.domain.availability import Availability


def rule(weekday: str, start: str, end: str, *modes: str, **validity: str) -> dict[str, Any]:
    return {"weekday": weekday, "start": start, "end": end, "modes": modes or ("video",), **validity}


def available(*rules: dict[str, Any], zone: str = "Asia/Kolkata", slot: int = 30, **rest: int) -> Availability:
    return Availability.model_validate({"time_zone": zone, "slot_minutes": slot, "rules": rules, **rest})
