"""The environment of the embedded servers: a data directory, private sockets and a user.

PostgreSQL refuses to run as root. If we are root, both servers therefore run as an unprivileged
user, who owns their data and may traverse the directories above it.
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

from receiver.errors import CannotRun

# Every system has one of these users, and they own no files.
UNPRIVILEGED = ("nobody", "daemon")

SOCKETS = "sockets"
TEMPORARY = "ordertrail-"
SHORT = "/tmp"  # noqa: S108 - mkdtemp makes a private, unpredictable directory in it
# The limit for the path of a socket, and the longest file name in the directory.
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
LONGEST_SOCKET = "/.s.PGSQL.5432"


@dataclass(frozen=True)
class Home:
    """The servers' data directory, their sockets, and the user (uid, gid) that they run as.

    user: None for ours. report: gets a line for what is changed outside the directory.
    """

    data_dir: Path
    sockets: Path
    user: tuple[int, int] | None
    report: Callable[[str], None]

    @classmethod
    def make(cls, data_dir: Path, report: Callable[[str], None] = lambda _: None) -> "Home":
        """Prepare a directory for both servers.

        Raises: CannotRun where it belongs to another user.
        """
        data_dir = data_dir.resolve()
        make_data_dir(data_dir)
        user = _server_user(data_dir)
        home = cls(data_dir, _make_socket_dir(data_dir), user, report)
        home.make_private(home.sockets)
        return home

    def make_private(self, directory: Path) -> None:
        """Make a directory that only the servers' user can use, and let that user reach it."""
        directory.mkdir(mode=0o700, exist_ok=True)
        if self.user:
            os.chown(directory, *self.user)
        _check_owner(directory)
        self.allow_access_to(directory)

    def allow_access_to(self, path: Path) -> None:
        """Let the servers' user traverse the directories above a path, without reading them."""
        if self.user is None:
            return
        uid, gid = self.user
        changed = []
        for directory in reversed(path.resolve().parents):
            status = directory.stat()
            traverse = stat.S_IXOTH
            if status.st_uid == uid:
                traverse = stat.S_IXUSR
            elif status.st_gid == gid:
                traverse = stat.S_IXGRP
            if not status.st_mode & traverse:
                directory.chmod(stat.S_IMODE(status.st_mode) | traverse)
                changed.append(str(directory))
        if changed:
            directories = ", ".join(changed)
            self.report(f"user {_user_name(uid)} may now traverse (chmod +x): {directories}")

    def close(self) -> None:
        """Remove the directory of the sockets."""
        _remove_sockets(self.data_dir)


def make_data_dir(data_dir: Path) -> None:
    """Make DATA_DIR if it does not exist; others may at most traverse it.

    Raises: CannotRun where it cannot be made, or belongs to another user.
    """
    try:
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(f"DATA_DIR {data_dir} cannot be made: {error.strerror}") from None
    _check_owner(data_dir)


def _check_owner(directory: Path) -> None:
    owner = directory.stat().st_uid
    if os.geteuid() not in (0, owner):
        raise CannotRun(
            f"{directory} belongs to {_user_name(owner)}: run as that user, or use another DATA_DIR"
        )


def _server_user(data_dir: Path) -> tuple[int, int] | None:
    """Return the (uid, gid) that the servers run as; None for ours."""
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
    raise CannotRun("PostgreSQL cannot run as root: create a user named 'nobody'")


def _make_socket_dir(data_dir: Path) -> Path:
    """Return the sockets' directory: in DATA_DIR if its path is suitable, else a temporary one.

    A symlink in DATA_DIR points to the temporary one, so that a start after a crash removes it.
    """
    _remove_sockets(data_dir)
    sockets = data_dir / SOCKETS
    # libpq takes a comma as the end of a host name and has no way to quote it.
    length = len(os.fsencode(sockets)) + len(LONGEST_SOCKET)
    if length <= SOCKET_PATH_BYTES and "," not in str(sockets):
        return sockets
    parent = tempfile.gettempdir()
    if len(parent) > SOCKET_PATH_BYTES // 2:
        parent = SHORT
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
    sockets.symlink_to(temporary)
    return temporary


def _remove_sockets(data_dir: Path) -> None:
    sockets = data_dir / SOCKETS
    if sockets.is_symlink():
        target = sockets.readlink()
        # Only what _make_socket_dir() made: root must not remove the target of another user's link.
        is_ours = str(target.parent) in (tempfile.gettempdir(), SHORT)
        if is_ours and target.name.startswith(TEMPORARY):
            shutil.rmtree(target, ignore_errors=True)
        sockets.unlink()
    else:
        shutil.rmtree(sockets, ignore_errors=True)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
