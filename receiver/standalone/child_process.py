"""Processes that cannot outlive the one that started them, and their leftovers.

`start` runs a command through this very file as a tiny script: the kernel is asked to signal the
process when its parent dies, rights are dropped, and the command takes the process over (same pid).
A script and not `preexec_fn`, which may deadlock where the parent has threads. Elsewhere than on
Linux there is no such signal: there, a parent that is killed leaves its parts running.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def start(
    argv: list[str],
    *,
    death_signal: signal.Signals,
    cwd: str,
    env: dict[str, str],
    log: int | None = None,
    user: tuple[int, int] | None = None,
    keep: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, where a terminal's Ctrl-C does not reach it.

    log:  a file descriptor for both outputs; None inherits ours.
    user: (uid, gid) to become; None stays who we are.
    keep: file descriptors it inherits.
    """
    uid, gid = user or (-1, -1)
    leash = [sys.executable, "-I", "-S", __file__]
    orders = [str(int(death_signal)), str(os.getpid()), str(uid), str(gid)]
    return subprocess.Popen(
        [*leash, *orders, *argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep,
        start_new_session=True,
    )


def end_session(leader: int) -> None:
    """Kill what is left of the session of a leader that has ended (a web worker, a work horse)."""
    import psutil  # noqa: PLC0415 - the script above starts without site-packages

    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def main(argv: list[str]) -> None:
    """Take the orders SIGNAL PARENT UID GID, then become the command that follows them."""
    death_signal, parent, uid, gid = (int(word) for word in argv[:4])
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which clears it; exec keeps it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"leash: {parent} had ended before {argv[4]} could start")
    # Python ignores it, the command must not; and a mask set by our caller is not for it either.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(argv[4], argv[4:])
    except OSError as error:
        sys.exit(f"leash: cannot start {argv[4]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
