"""Child processes that do not outlive their parent.

`start_child` runs a command through this file as a small script: it asks the kernel to signal the
process when its parent dies, drops privileges, and executes the command in the same process. It is
a script and not a `preexec_fn`, which may deadlock where the parent has threads. Only
Linux has this signal: elsewhere, the children of a parent that is killed keep running.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def start_child(
    argv: list[str],
    *,
    death_signal: signal.Signals,
    cwd: str,
    env: dict[str, str],
    log: int | None = None,
    user: tuple[int, int] | None = None,
    keep: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in its own session, so that Ctrl-C in a terminal does not reach it.

    log: a file descriptor for stdout and stderr; None: ours.
    user: the (uid, gid) to run as; None: ours.
    keep: file descriptors that it inherits.
    """
    uid, gid = user or (-1, -1)
    script = [sys.executable, "-I", "-S", __file__]
    arguments = [str(int(death_signal)), str(os.getpid()), str(uid), str(gid)]
    return subprocess.Popen(
        [*script, *arguments, *argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep,
        start_new_session=True,
    )


def end_session(leader: int) -> None:
    """Kill the processes that are left of a session whose leader has ended, such as web workers."""
    import psutil  # noqa: PLC0415 - the script above starts without site-packages

    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def main(argv: list[str]) -> None:
    """Execute a command; argv: SIGNAL PARENT UID GID, then the command."""
    death_signal, parent, uid, gid = (int(word) for word in argv[:4])
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which resets it; exec does not.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"ordertrail: {argv[4]} was not started: its parent {parent} has ended")
    # Python ignores SIGPIPE, and our caller may have blocked signals; neither is for the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(argv[4], argv[4:])
    except OSError as error:
        sys.exit(f"ordertrail: cannot start {argv[4]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
