"""Who may read what a patient told, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest

from amrutam.domain.access import may_read_clinical_text
from amrutam.domain.common import Role
from amrutam.domain.support import masked

END = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
AFTER = timedelta(days=90)
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("side", "now", "may"),
    [
        (Role.PATIENT, END - timedelta(days=30), True),
        (Role.PATIENT, END + timedelta(days=3650), True),
        (Role.DOCTOR, END - timedelta(days=30), True),
        (Role.DOCTOR, END + AFTER - MICROSECOND, True),
        (Role.DOCTOR, END + AFTER, False),
        (Role.SUPPORT, END - timedelta(days=30), False),
        (Role.SUPPORT, END, False),
        (Role.ADMIN, END, False),
    ],
)
def test_the_patient_reads_for_ever_the_doctor_for_a_while_and_staff_never(
    side: Role, now: datetime, may: bool
) -> None:
    assert may_read_clinical_text(side, END, now, AFTER) is may


@pytest.mark.parametrize(
    ("phone", "shown"),
    [("+919876543210", "*********3210"), ("+12345678", "*****5678"), ("+123456789012345", "*" * 12 + "2345")],
)
def test_of_a_number_the_last_four_digits_are_told(phone: str, shown: str) -> None:
    assert masked(phone) == shown
