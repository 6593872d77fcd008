"""Hosts on one bridge, in namespaces that end with the process that made them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

NET = "10.77.0"
OURS = f"{NET}.1"
INSIDE = "ORDERTRAIL_HOSTS_INSIDE"
PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "setpriv": "util-linux"}


def why_not() -> str | None:
    """Why no hosts can be made here, and what to do; None where they can."""
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if missing:
        return f"needs {missing[0]} (Debian: apt-get install {missing[0]})"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for its network namespaces"
    done = subprocess.run(_unshare("true"), capture_output=True, text=True, check=False)
    return (
        None if done.returncode == 0 else f"no namespaces can be made here: {done.stderr.strip()}"
    )


def _unshare(*argv: str) -> list[str]:
    """A command in networks, mounts and processes of its own: nothing outlives it."""
    kinds = ("--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
    return ["unshare", *kinds, *argv]


def go_inside(argv: Sequence[str]) -> None:
    """Replace this process by `argv`, where there are namespaces of its own; once there, return."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        command = _unshare(*argv)
        os.execvp(command[0], command)


class Network:
    """The bridge; hosts are added to it by their names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts: dict[str, Host] = {}
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "hosts", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "address", "add", f"{OURS}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")

    def add(self, name: str) -> "Host":
        host = Host(name, f"{NET}.{10 + len(self.hosts)}", self.directory / name)
        host.directory.mkdir()
        host.directory.chmod(0o711)
        port = host.port
        run("ip", "netns", "add", name)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        self.hosts[name] = host
        return host


class Host:
    """A machine: what runs on it, and the wire to it."""

    def __init__(self, name: str, address: str, directory: Path) -> None:
        self.name = name
        self.address = address
        self.directory = directory
        self._programs: list[tuple[Sequence[str], Mapping[str, str], Path, tuple[int, int] | None]]
        self._programs = []
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def port(self) -> str:
        """The bridge's end of its wire."""
        return f"to-{self.name}"[:15]

    def install(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        cwd: Path,
        user: tuple[int, int] | None = None,
    ) -> None:
        """Note a program that runs whenever the host does. user: uid and gid, else root."""
        self._programs.append((argv, environ, cwd, user))

    def start(self) -> None:
        for number, (argv, environ, cwd, user) in enumerate(self._programs):
            place = ["ip", "netns", "exec", self.name]
            if user:
                place += ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]
            with (self.directory / f"{number}.log").open("ab") as log:
                process = subprocess.Popen(
                    [*place, *argv],
                    env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environ},
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._processes.append(process)

    def kill(self) -> None:
        """All of its processes, at once."""
        for pid in run("ip", "netns", "pids", self.name).split():
            os.kill(int(pid), signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def cut(self) -> None:
        """Whatever is sent to it or by it is gone, and nobody is told."""
        run("ip", "link", "set", self.port, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self.port, "up")

    def said(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in self.directory.glob("*.log"))


def run(*argv: str) -> str:
    """What a command said. Raises: OSError where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
