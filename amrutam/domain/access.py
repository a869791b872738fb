"""Who may read what a patient told, and for how long."""

from datetime import datetime, timedelta

from amrutam.domain.common import Role


def may_read_clinical_text(side: Role, visit_ends_at: datetime, now: datetime, after_visit: timedelta) -> bool:
    """Whether somebody on this side of a visit may read its clinical text at `now`.

    The patient always may. Their doctor may from the booking on, until `after_visit` has passed since the visit's end.
    Support never may.
    """
    match side:
        case Role.PATIENT:
            return True
        case Role.DOCTOR:
            return now < visit_ends_at + after_visit
        case _:
            return False
