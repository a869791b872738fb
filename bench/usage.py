"""What the processes use: processor time, memory, connections, commits."""

from collections.abc import Mapping

import psutil

from bench.system import System

GENERATOR = "load generator"
BARE_WORKER = "bare worker"
_MIB = 2**20


def cpu(system: System) -> dict[str, float]:
    """Processor seconds of each part so far."""
    used = {part.name: _family_cpu(part.process.pid) for part in system.servers.running if part.process}
    used[BARE_WORKER] = _family_cpu(system.bare_worker)
    own = psutil.Process().cpu_times()
    used[GENERATOR] = own.user + own.system
    return used


async def commits(system: System) -> dict[str, int]:
    """Of each database so far; a connection tells of its own when it has been idle for 10 seconds."""
    async with system.owner.connection() as db:
        rows = await db.fetch(
            "SELECT datname, xact_commit FROM pg_stat_database WHERE datname NOT IN ('postgres') "
            "AND datname NOT LIKE 'template%' ORDER BY 1"
        )
    return {row["datname"]: row["xact_commit"] for row in rows}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Between the two."""
    return {name: after[name] - before[name] for name in after}


def memory(system: System) -> dict[str, float]:
    """MiB of each part with its children; pages that several share are counted once (PSS)."""
    parts = [part for part in system.servers.running if part.process]
    return {part.name: sum(_memory_of(p) for p in _family(part.process.pid)) for part in parts if part.process}


async def connections(system: System) -> dict[str, int]:
    """To PostgreSQL, by database."""
    async with system.owner.connection() as db:
        rows = await db.fetch(
            "SELECT datname, count(*) AS open FROM pg_stat_activity WHERE datname IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
    return {row["datname"]: row["open"] for row in rows}


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _family_cpu(pid: int) -> float:
    """Of the process, its children, and those of them that have ended."""
    parent = psutil.Process(pid).cpu_times()
    return parent.children_user + parent.children_system + sum(_cpu_of(process) for process in _family(pid))


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _memory_of(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / _MIB
    except psutil.AccessDenied:  # another user's process, and we are not root
        return process.memory_info().rss / _MIB
    except psutil.NoSuchProcess:
        return 0.0
