"""What it costs to know who asks and whether they may: authenticated reads, and signing in."""

from itertools import count

from amrutam.passwords import Passwords
from bench.client import Api
from bench.load import Sample, in_flight
from bench.people import PASSWORD, People
from bench.plan import Plan
from bench.reads import OK, compare, wrk_is_missing
from bench.report import Bound, Report, Row
from bench.system import System

GUARDED = Bound(least_ratio=0.8)
LOGINS_IN_FLIGHT = 8


async def measure(system: System, people: People, plan: Plan, report: Report) -> None:
    """Both, each beside the same without the guard."""
    if not wrk_is_missing(report):
        await _reads(system, people, plan, report)
    await _logins(system, people, plan, report)


async def _reads(system: System, people: People, plan: Plan, report: Report) -> None:
    path, token = f"/v1/doctors/{await people.doctor('09:00', '18:00', 30)}", await people.patient()
    for connections in plan.connections:
        guarded, bare = await compare(
            system, (system.api_port, path, token), (system.unguarded_port, path, ""), connections, plan
        )
        report.add(
            Row(
                f"doctor, cached, signed in, {connections} connection{'s' if connections > 1 else ''}",
                guarded.rate,
                "a second",
                bare.rate,
                "the same without authentication and limit",
                GUARDED,
            )
        )


async def _logins(system: System, people: People, plan: Plan, report: Report) -> None:
    """Beside the password hashes alone: the rest of a sign-in is a session's row, an audit row, a token."""
    settings = system.settings
    passwords = Passwords(memory_kib=settings.password_memory_kib, passes=settings.password_passes)
    stored = await passwords.hash(PASSWORD)
    accounts = [await people.account(stored) for _ in range(plan.logins)]
    api, turn = Api(system.api_port), count()
    await api.open(LOGINS_IN_FLIGHT)

    async def log_in() -> str:
        body = {"email": accounts[next(turn)], "password": PASSWORD}
        reply = await api.post("/v1/auth/login", {}, body)
        return "ok" if reply.status == OK else str(reply.status)

    async def verify() -> str:
        return "ok" if await passwords.verify(stored, PASSWORD) else "wrong"

    ours, limit = Sample(), Sample()
    for _ in range(plan.rounds):
        limit.add(await in_flight(verify, plan.logins // plan.rounds, LOGINS_IN_FLIGHT))
        ours.add(await in_flight(log_in, plan.logins // plan.rounds, LOGINS_IN_FLIGHT))
    await api.close()
    name = f"logins, {LOGINS_IN_FLIGHT} in flight"
    details: dict[str, object] = {"outcomes": dict(ours.outcomes)}
    report.add(Row(name, ours.rate, "a second", limit.rate, "argon2id alone, two threads", details=details))
