"""`make up`: from a checkout to a running system in the foreground. `python -m amrutam.stack.up`."""

import asyncio
import os
import sys

import httpx

from amrutam.stack import applicant, next_visit
from amrutam.stack.applications import CHECKOUT, RATE_LIMIT_FACTOR, STEPS, Api, Demo, Worker, run_step
from amrutam.stack.console import Console
from amrutam.stack.errors import StackError
from amrutam.stack.foreground import StopRequests, own_foreground_group
from amrutam.stack.ports import Ports
from amrutam.stack.sandbox import Sandbox
from amrutam.stack.servers import External, Servers

DATA = CHECKOUT / ".data"
WATCH_SECONDS = 0.2
# Of the 15 s that a stop may take; what still runs then is killed. PostgreSQL survives that: it recovers.
STOP_SECONDS = 12
LOGINS = ("patient", "patient2", "doctor", "doctor2", "support", "admin")
DOMAIN, PASSWORD = "demo.amrutam.test", "Amrutam-demo-1"


class System:
    """Servers and applications of one `make up`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._demo = Demo.from_environment(os.environ)
        self._servers = Servers(
            DATA,
            Ports.from_environment(os.environ),
            console,
            ui=True,
            external=External.from_environment(os.environ),
            wanted=[*self._demo.wanted(), Sandbox.wanted(os.environ)],
        )

    async def run(self) -> None:
        """Start everything, then watch it until cancelled. Raises StackError when a part fails or ends by itself."""
        async with self._servers as servers:
            environment = self._demo.environment(servers.folders, servers.endpoints)
            sandbox = Sandbox.of(servers.folders, self._demo, environment)
            environment |= sandbox.environment()
            for step in STEPS:
                self._console.progress(f"{step.name} is being made ready")
                await run_step(step, servers.folders, environment)
                self._console.say(f"{step.name} is ready")
            await servers.add(sandbox)
            await servers.add(Worker(servers.folders, self._demo, environment))
            await servers.add(Api(servers.folders, self._demo, environment))
            await self._renew_next_visit()
            await self._submit_for_applicant()
            self._console.plain(self._summary(sandbox.url))
            await self._watch()

    async def _renew_next_visit(self) -> None:
        """A demo without it is a demo still."""
        try:
            self._console.say(f"The demo's next visit begins at {await next_visit.renew(self._demo.url)}")
        except (httpx.HTTPError, ValueError) as error:
            self._console.say(f"The demo's next visit could not be booked: {error}")

    async def _submit_for_applicant(self) -> None:
        """So that an administrator has somebody to verify."""
        try:
            self._console.say(f"Verification of {applicant.APPLICANT}: {await applicant.submit(self._demo.url)}")
        except (httpx.HTTPError, ValueError) as error:
            self._console.say(f"Nothing was submitted for {applicant.APPLICANT}: {error}")

    async def _watch(self) -> None:
        while True:
            for part in self._servers.running:
                if part.process and not part.process.alive:
                    raise StackError(part.process.obituary())
            await asyncio.sleep(WATCH_SECONDS)

    def kill(self) -> None:
        """End everything at once. A stop that is under way then finishes by itself."""
        for part in self._servers.running:
            if part.process:
                part.process.kill_now()

    def _summary(self, sandbox_url: str) -> str:
        folders, url = self._servers.folders, self._demo.url
        rows = {
            "API": url,
            "Documentation": f"{url}/docs",
            "Staff": f"{url}/staff",
            "Temporal UI": self._servers.endpoints.temporal_ui_url or "as your Temporal server has it",
            "Payments": f"{sandbox_url} (a sandbox: no money moves)",
            "Demo logins": " ".join(f"{login}@{DOMAIN}" for login in LOGINS[:3]),
            "": " ".join(f"{login}@{DOMAIN}" for login in LOGINS[3:]),
            "Password": f"{PASSWORD} (the same for each)",
            "Rate limits": f"{os.environ.get('RATE_LIMIT_FACTOR') or RATE_LIMIT_FACTOR} times those of production",
            "Mails": str(folders.mail),
            "Data": str(folders.root),
            "Logs": str(folders.logs),
        }
        lines = [f"  {name:<15}{value}" for name, value in rows.items()]
        return "\n".join(["", "Amrutam is up.", "", *lines, "", "Ctrl-C stops everything; the data stays.", ""])


async def up(console: Console) -> int:
    """The exit status: 0 when the person ended it, 1 when something failed."""
    system = System(console)
    running = asyncio.create_task(system.run())

    def stop() -> None:
        running.cancel()
        asyncio.get_running_loop().call_later(STOP_SECONDS, system.kill)
        console.say("Stopping; the data stays. Once more to hurry")

    requests = StopRequests(first=stop, again=system.kill)
    try:
        await running
    except asyncio.CancelledError:
        console.say("Everything has stopped")
    finally:
        requests.close()
    return 0


def main() -> int:
    """Run in the foreground until stopped."""
    console = Console()
    with own_foreground_group():
        try:
            return asyncio.run(up(console))
        except KeyboardInterrupt:  # so early that nothing has started
            return 0
        except StackError as fault:
            console.plain(f"\n{fault}")
        except PermissionError as fault:
            console.plain(f"\n{fault.filename} belongs to another user: run this as that user, or remove {DATA}.")
        return 1


if __name__ == "__main__":
    sys.exit(main())
