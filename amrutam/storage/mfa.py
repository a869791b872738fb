"""Second factors, recovery codes, and challenges between password and code. The secret is sealed and opened here."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from amrutam.crypto import place
from amrutam.domain.mfa import CHALLENGE_ATTEMPTS, Challenge, Factor, Proof, Purpose, TotpProof
from amrutam.domain.sessions import Session
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Connection


class Enrolled(NamedTuple):
    """An authenticator app: its secret, as it lies in its row too, and the step of the last code that was taken."""

    secret: str
    sealed: bytes
    last_step: int
    confirmed: bool


class Standing(NamedTuple):
    """A factor that is asked for."""

    confirmed_at: datetime
    recovery_codes_left: int


async def enroll(db: Connection, keys: PersonKeys, user_id: UUID, secret: str) -> bool:
    """Keep a secret that is not asked for yet, in place of one that never was. False: the person has a factor."""
    key = await keys.of(db, user_id)
    done = await db.execute(
        """INSERT INTO factors (user_id, secret) VALUES ($1, $2)
           ON CONFLICT (user_id) DO UPDATE SET secret = EXCLUDED.secret, last_step = 0, enrolled_at = now()
           WHERE factors.confirmed_at IS NULL""",
        user_id, key.seal(secret, place("factors", user_id, "secret")),
    )  # fmt: skip
    return done == "INSERT 0 1"


async def enrolled(db: Connection, keys: PersonKeys, user_id: UUID) -> Enrolled | None:
    """The person's app, asked for or not yet. Raises SealError, DataKeyMissing."""
    row = await db.fetchrow("SELECT secret, last_step, confirmed_at FROM factors WHERE user_id = $1", user_id)
    if row is None:
        return None
    opened = (await keys.of(db, user_id)).open(row["secret"], place("factors", user_id, "secret"))
    return Enrolled(opened, row["secret"], row["last_step"], row["confirmed_at"] is not None)


async def standing(db: Connection, user_id: UUID) -> Standing | None:
    """How the person's factor stands. None: none is asked for."""
    row = await db.fetchrow(
        """SELECT confirmed_at, (SELECT count(*) FROM recovery_codes c
                  WHERE c.user_id = f.user_id AND c.used_at IS NULL) AS recovery_codes_left
           FROM factors f WHERE user_id = $1 AND confirmed_at IS NOT NULL""",
        user_id,
    )  # fmt: skip
    return Standing(**row) if row else None


async def is_on(db: Connection, user_id: UUID) -> bool:
    """Whether the person's factor is asked for."""
    return await db.fetchval(
        "SELECT EXISTS (SELECT FROM factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)", user_id
    )


async def confirm(db: Connection, user_id: UUID, step: int, app: Enrolled) -> bool:
    """Ask for the factor from now on. False: it is on already, or another app was set up in between."""
    done = await db.execute(
        """UPDATE factors SET confirmed_at = now(), last_step = $2
           WHERE user_id = $1 AND confirmed_at IS NULL AND secret = $3""",
        user_id, step, app.sealed,
    )  # fmt: skip
    return done == "UPDATE 1"


async def use(db: Connection, user_id: UUID, proof: Proof) -> bool:
    """Use up what was shown. False: it was used in between, by another request, or the factor is gone."""
    if isinstance(proof, TotpProof):
        done = await db.execute(
            """UPDATE factors SET last_step = $2
               WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL""",
            user_id, proof.step,
        )  # fmt: skip
    else:
        done = await db.execute(
            """UPDATE recovery_codes SET used_at = now()
               WHERE user_id = $1 AND slot = $2 AND code_hash = $3 AND used_at IS NULL""",
            user_id, proof.slot, proof.code_hash,
        )  # fmt: skip
    return done == "UPDATE 1"


async def remove(db: Connection, user_id: UUID) -> bool:
    """Do without a factor again; its recovery codes go with it. False: there was none."""
    return await db.execute("DELETE FROM factors WHERE user_id = $1", user_id) == "DELETE 1"


async def lock(db: Connection, user_id: UUID) -> bool:
    """Keep the person's factor from others until the transaction ends. False: none is asked for."""
    row = await db.fetchrow("SELECT FROM factors WHERE user_id = $1 AND confirmed_at IS NOT NULL FOR UPDATE", user_id)
    return row is not None


async def replace_recovery_codes(db: Connection, user_id: UUID, hashes: Sequence[str]) -> None:
    """New codes, a hash for each slot in order. The old ones are void."""
    await db.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
    await db.execute(
        """INSERT INTO recovery_codes (user_id, slot, code_hash)
           SELECT $1, place - 1, hash FROM unnest($2::text[]) WITH ORDINALITY AS given (hash, place)""",
        user_id, list(hashes),
    )  # fmt: skip


async def recovery_hash(db: Connection, user_id: UUID, slot: int) -> str | None:
    """The hash of the code of this slot, unless it was used."""
    return await db.fetchval(
        "SELECT code_hash FROM recovery_codes WHERE user_id = $1 AND slot = $2 AND used_at IS NULL", user_id, slot
    )


async def show(db: Connection, session_id: UUID, at: datetime, factor: Factor) -> Session | None:
    """Note that a factor was shown in a session. None when the session is over. Roles are today's."""
    row = await db.fetchrow(
        """UPDATE sessions s SET factor_at = $2,
                  methods = CASE WHEN $3 = ANY (methods) THEN methods ELSE methods || $3 END
           FROM users u WHERE s.id = $1 AND s.ended_at IS NULL AND s.expires_at > now() AND u.id = s.user_id
           RETURNING s.id, s.user_id, u.roles, s.authenticated_at, s.methods, s.factor_at, s.token_version""",
        session_id, at, factor.method,
    )  # fmt: skip
    return Session.model_validate(dict(row)) if row else None


async def forget_shown(db: Connection, user_id: UUID) -> None:
    """The person's factor is gone: that it was shown counts in no session any more."""
    await db.execute("UPDATE sessions SET factor_at = NULL WHERE user_id = $1 AND factor_at IS NOT NULL", user_id)


async def insert_challenge(
    db: Connection,
    challenge_id: UUID,
    user_id: UUID,
    purpose: Purpose,
    hashed: bytes,
    device_name: str | None,
    expires_at: datetime,
) -> None:
    """The right password was given. A change of the password voids the challenge."""
    await db.execute(
        """INSERT INTO factor_challenges (id, user_id, purpose, token_hash, device_name, expires_at, password_mark)
           SELECT $1, id, $3, $4, $5, $6, sha256(convert_to(password_hash, 'UTF8')) FROM users WHERE id = $2""",
        challenge_id, user_id, purpose, hashed, device_name, expires_at,
    )  # fmt: skip


_GOOD = """c.used_at IS NULL AND c.expires_at > now() AND u.id = c.user_id
           AND c.password_mark = sha256(convert_to(u.password_hash, 'UTF8'))"""


async def enrolling(db: Connection, hashed: bytes) -> Challenge | None:
    """The challenge of a token that is good for enrolling a factor. Roles are today's."""
    row = await db.fetchrow(
        f"""SELECT c.id, c.user_id, c.device_name, u.roles FROM factor_challenges c, users u
            WHERE c.token_hash = $1 AND c.purpose = 'enroll' AND {_GOOD}""",  # noqa: S608 - constants
        hashed,
    )  # fmt: skip
    return Challenge.model_validate(dict(row)) if row else None


async def attempt(db: Connection, hashed: bytes) -> Challenge | None:
    """The challenge of a token for which a code is given. Every attempt counts, however many come at once.

    None: the token is unknown, used or too old, or there were too many attempts. Roles are today's.
    """
    row = await db.fetchrow(
        f"""UPDATE factor_challenges c SET attempts = attempts + 1 FROM users u
            WHERE c.token_hash = $1 AND c.purpose = 'verify' AND c.attempts < $2 AND {_GOOD}
            RETURNING c.id, c.user_id, c.device_name, u.roles""",  # noqa: S608 - constants
        hashed, CHALLENGE_ATTEMPTS,
    )  # fmt: skip
    return Challenge.model_validate(dict(row)) if row else None


async def use_challenge(db: Connection, challenge_id: UUID) -> bool:
    """Use up a challenge. False: it was used, or became void, in between."""
    done = await db.execute(
        f"UPDATE factor_challenges c SET used_at = now() FROM users u WHERE c.id = $1 AND {_GOOD}",  # noqa: S608 - constants
        challenge_id,
    )  # fmt: skip
    return done == "UPDATE 1"


async def forget_challenges_before(db: Connection, moment: datetime, limit: int) -> int:
    """Remove up to `limit` challenges that were good until before `moment`; returns how many."""
    gone = await db.fetch(
        """DELETE FROM factor_challenges WHERE id IN
           (SELECT id FROM factor_challenges WHERE expires_at < $1 LIMIT $2) RETURNING 1""",
        moment, limit,
    )  # fmt: skip
    return len(gone)
