"""Where the embedded servers live, and as whom: a data directory, private sockets, a user.

PostgreSQL refuses to run as root. Under root both servers therefore run as an unprivileged user,
who owns their data and may pass through the directories above it.
"""

import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Every system has one of them; none of them owns anything.
UNPRIVILEGED = ("nobody", "daemon")

SOCKETS = "sockets"
TEMPORARY = "ordertrail-"
SHORT = "/tmp"  # noqa: S108 - mkdtemp makes a private, unpredictable directory in it
# The longest a socket's path may be, and the longest name that is put into the directory.
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
LONGEST_SOCKET = "/.s.PGSQL.5432"


class EmbeddedError(Exception):
    """An embedded server cannot run here; one line that says why and what to do."""


@dataclass(frozen=True)
class Home:
    """Where the servers live: their data, their sockets, and the user that they run as."""

    data_dir: Path
    sockets: Path
    user: tuple[int, int] | None
    say: Callable[[str], None]

    @classmethod
    def make(cls, data_dir: Path, say: Callable[[str], None] = lambda _: None) -> "Home":
        """Prepare a directory for both servers; `say` gets a line for what is changed outside it.

        Raises: EmbeddedError where it belongs to somebody else.
        """
        data_dir = data_dir.resolve()
        private_dir(data_dir)
        user = _server_user(data_dir)
        home = cls(data_dir, _socket_dir(data_dir), user, say)
        home.own(home.sockets)
        return home

    def own(self, directory: Path) -> None:
        """Make a private directory of the servers' user, one that this user can reach."""
        directory.mkdir(mode=0o700, exist_ok=True)
        if self.user:
            os.chown(directory, *self.user)
        _check_owner(directory)
        self.open_way_to(directory)

    def open_way_to(self, path: Path) -> None:
        """Let the servers' user pass through the directories above a path, and nothing more."""
        if self.user is None:
            return
        opened = []
        for directory in reversed(path.resolve().parents):
            told = directory.stat()
            uid, gid = self.user
            passes = stat.S_IXOTH
            if told.st_uid == uid:
                passes = stat.S_IXUSR
            elif told.st_gid == gid:
                passes = stat.S_IXGRP
            if not told.st_mode & passes:
                directory.chmod(stat.S_IMODE(told.st_mode) | passes)
                opened.append(str(directory))
        if opened:
            self.say(f"user {_name(self.user[0])} may now pass (chmod +x): {', '.join(opened)}")

    def close(self) -> None:
        """Remove the sockets' directory."""
        _remove_sockets(self.data_dir)


def private_dir(data_dir: Path) -> None:
    """Make DATA_DIR where there is none: ours, and for the servers' user only to pass through.

    Raises: EmbeddedError where it cannot be made, or is somebody else's.
    """
    try:
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as wrong:
        raise EmbeddedError(f"DATA_DIR {data_dir} cannot be made: {wrong.strerror}") from None
    _check_owner(data_dir)


def _check_owner(directory: Path) -> None:
    owner = directory.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise EmbeddedError(
            f"{directory} belongs to {_name(owner)}: run as that user, or choose another DATA_DIR"
        )


def _server_user(data_dir: Path) -> tuple[int, int] | None:
    """As whom (uid, gid) the servers run; None means as ourselves."""
    if os.geteuid() != 0:
        return None
    for data in (data_dir / "postgres", data_dir / "valkey"):
        if data.exists() and data.stat().st_uid != 0:
            return data.stat().st_uid, data.stat().st_gid
    for name in UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user 'nobody': add one")


def _socket_dir(data_dir: Path) -> Path:
    """A directory for the sockets: in DATA_DIR where its path will do, else a temporary one.

    A link in DATA_DIR remembers the temporary one, so that a start after a crash removes it.
    """
    _remove_sockets(data_dir)
    here = data_dir / SOCKETS
    # libpq reads a comma as the end of a host's name, and nothing quotes it.
    if len(os.fsencode(here)) + len(LONGEST_SOCKET) <= SOCKET_PATH_BYTES and "," not in str(here):
        return here
    parent = tempfile.gettempdir()
    if len(parent) > SOCKET_PATH_BYTES // 2:
        parent = SHORT
    there = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
    here.symlink_to(there)
    return there


def _remove_sockets(data_dir: Path) -> None:
    here = data_dir / SOCKETS
    if here.is_symlink():
        there = here.readlink()
        # Of our own making only: root must not remove what somebody else's link points to.
        if there.name.startswith(TEMPORARY) and str(there.parent) in (tempfile.gettempdir(), SHORT):
            shutil.rmtree(there, ignore_errors=True)
        here.unlink()
    else:
        shutil.rmtree(here, ignore_errors=True)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
