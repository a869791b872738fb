"""Refresh tokens under every order of use: a model in a few lines, and the rows of a real session beside it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amrutam.domain.sessions import GRACE, USES_WITHIN_GRACE, Session, Verdict, judge
from amrutam.ids import new_id
from amrutam.storage import sessions
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection, Database
from amrutam.storage.sessions import Device
from tests.web.accounts import MakePatient

PLACE = "192.0.2.1"


class Step(NamedTuple):
    """Somebody presents a token that was given, the `which`-th from the newest, after a wait past the grace or not."""

    which: int
    late: bool


@dataclass
class Given:
    """A token in the model."""

    hashed: bytes
    used: bool = False
    past_grace: bool = False
    successors: "list[Given]" = field(default_factory=list["Given"])

    def verdict(self, *, over: bool) -> Verdict:
        """What the contract says of it."""
        if over:
            return Verdict.REFUSE
        if not self.used:
            return Verdict.ROTATE
        if self.past_grace or any(each.used for each in self.successors):
            return Verdict.END_SESSION
        return Verdict.ROTATE if len(self.successors) < USES_WITHIN_GRACE else Verdict.REFUSE


STEPS = st.lists(
    st.builds(Step, which=st.integers(min_value=0, max_value=4), late=st.booleans()), min_size=1, max_size=12
)


async def _present(db: Connection, keys: PersonKeys, hashed: bytes) -> tuple[Verdict, bytes]:
    """As the route does it; returns what was given."""
    token, fresh = await sessions.lock_refresh_token(db, hashed), new_id().bytes
    verdict = judge(token)
    if token and verdict is Verdict.ROTATE:
        ends = token.session.authenticated_at + timedelta(hours=1)
        await sessions.rotate(db, keys, token.session, PLACE, ends, used=hashed, fresh=fresh)
    elif token and verdict is Verdict.END_SESSION:
        await sessions.end(db, token.session.user_id, [token.session.id])
    return verdict, fresh


async def _wait_past_the_grace(db: Connection, session_id: UUID, model: list[Given]) -> None:
    await db.execute(
        "UPDATE refresh_tokens SET used_at = used_at - $2::interval WHERE session_id = $1",
        session_id, GRACE + timedelta(seconds=1),
    )  # fmt: skip
    for each in model:
        each.past_grace = each.used


@hypothesis_settings(max_examples=60, deadline=None)
@given(steps=STEPS)
async def test_a_refresh_token_is_good_once_but_for_the_grace_of_the_immediate_predecessor(
    db: Database, person_keys: PersonKeys, make_patient: MakePatient, steps: list[Step]
) -> None:
    person, now = await make_patient(), datetime.now(UTC)
    session = Session(id=new_id(), user_id=person.id, roles=frozenset(), authenticated_at=now, methods=["pwd"])
    model, over = [Given(new_id().bytes)], False
    async with db.transaction() as connection:
        device, ends = Device(None, "tests", PLACE), now + timedelta(hours=1)
        await sessions.insert(connection, person_keys, session, device, ends, model[0].hashed)
        for step in steps:
            if step.late:
                await _wait_past_the_grace(connection, session.id, model)
            token = model[max(0, len(model) - 1 - step.which)]
            expected = token.verdict(over=over)
            verdict, fresh = await _present(connection, person_keys, token.hashed)
            assert verdict is expected
            over |= verdict is Verdict.END_SESSION
            if verdict is Verdict.ROTATE:
                token.used = True
                token.successors.append(Given(fresh))
                model.append(token.successors[-1])
        assert (await sessions.token_version(connection, session.id) == 0) is over


@hypothesis_settings(max_examples=40, deadline=None)
@given(stolen_at=st.integers(min_value=0, max_value=4), owner_goes_on=st.integers(min_value=1, max_value=3))
async def test_a_token_that_is_used_by_thief_and_owner_past_the_grace_ends_the_session_for_both(
    db: Database, person_keys: PersonKeys, make_patient: MakePatient, stolen_at: int, owner_goes_on: int
) -> None:
    person, now = await make_patient(), datetime.now(UTC)
    session = Session(id=new_id(), user_id=person.id, roles=frozenset(), authenticated_at=now, methods=["pwd"])
    newest = new_id().bytes
    async with db.transaction() as connection:
        device, ends = Device(None, "tests", PLACE), now + timedelta(hours=1)
        await sessions.insert(connection, person_keys, session, device, ends, newest)
        for _ in range(stolen_at):
            _, newest = await _present(connection, person_keys, newest)
        stolen = newest
        for _ in range(owner_goes_on):
            _, newest = await _present(connection, person_keys, newest)
        await _wait_past_the_grace(connection, session.id, [])
        assert (await _present(connection, person_keys, stolen))[0] is Verdict.END_SESSION
        assert (await _present(connection, person_keys, newest))[0] is Verdict.REFUSE
