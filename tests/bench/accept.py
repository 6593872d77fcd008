"""Accept: a hook kept durably, beside what answers without keeping, or keeps one by one."""

import string
from collections.abc import Callable, Iterator, Sequence

import psycopg

from tests.bench import node_red
from tests.bench.load import CONNECTIONS, Loaded, Request, load
from tests.bench.rounds import Rounds
from tests.bench.samples import hook
from tests.bench.stage import Kept, Process, Stage, accepting, say
from tests.bench.table import Figure, Goal, compare, megabytes, milliseconds

OVERLOAD = 256
RUNS = string.ascii_letters
DURABLE = "accept, durable"


class Lost(Exception):
    """An answered body was not stored: nothing else that was measured matters."""


def accept(stage: Stage, rounds: Rounds, with_node: bool) -> list[Figure]:
    """Ours, the peers, and ours under overload, in turn.

    Raises: Lost.
    """
    environ = stage.tables("accept")
    url = environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE hooks (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb,"
            " received_at timestamptz)"
        )
    body = hook()
    web = stage.web(environ)
    kept = Kept(url, body)
    ports = {
        "an empty Flask view": stage.web(environ, "empty_view").port,
        "parse JSON and queue.enqueue": stage.web(environ, "by_hand").port,
        "an INSERT and commit each": stage.web(environ, "insert_each").port,
    }
    if with_node and (flow := node_red.started(stage, environ)) is not None:
        ports["a Node-RED flow"] = flow.port
    peers: dict[str, Callable[[str], Loaded]] = {
        name: _asking(Request(port, "POST", "/", body), rounds.seconds)
        for name, port in ports.items()
    }
    ours, overloaded, theirs, memory = _measure(web, body, peers, rounds, kept)
    kept.check_each(web.port, rounds.seconds, "Z")
    say(f"stored: {kept.checked:,} answered bodies looked for, {kept.lost} missing")
    if kept.lost:
        raise Lost(f"{kept.lost} of {kept.checked} answered bodies are not stored")
    return [*_beside_peers(ours, theirs), *_under_overload(ours, overloaded, memory)]


def _asking(request: Request, seconds: float) -> Callable[[str], Loaded]:
    return lambda run: load(request, seconds, run)


def _measure(
    web: Process, body: bytes, peers: dict[str, Callable[[str], Loaded]], rounds: Rounds, kept: Kept
) -> tuple[list[Loaded], list[Loaded], dict[str, list[Loaded]], list[float]]:
    ours: list[Loaded] = []
    overloaded: list[Loaded] = []
    theirs: dict[str, list[Loaded]] = {name: [] for name in peers}
    memory: list[float] = []
    runs: Iterator[str] = iter(RUNS)
    # Pools fill, pages are mapped, code is warm: not measured.
    kept.check(load(accepting(web.port, body), 1, next(runs), connections=OVERLOAD))
    for ask in peers.values():
        ask(next(runs))
    for _ in rounds.each("accept"):
        ours.append(load(accepting(web.port, body), rounds.seconds, next(runs)))
        kept.check(ours[-1])
        for name, ask in peers.items():
            theirs[name].append(ask("a"))
        many = load(accepting(web.port, body), rounds.seconds, next(runs), connections=OVERLOAD)
        kept.check(many)
        overloaded.append(many)
        memory.append(web.megabytes())
    return ours, overloaded, theirs, memory


def _beside_peers(ours: Sequence[Loaded], theirs: dict[str, list[Loaded]]) -> Iterator[Figure]:
    goals = {
        "an empty Flask view": (Goal(least=0.55), None),
        "parse JSON and queue.enqueue": (Goal(least=1.9), Goal(most=1)),
        "an INSERT and commit each": (Goal(least=2.5), None),
        "a Node-RED flow": (Goal(least=1.2), Goal(most=1)),
    }
    for name, loads in theirs.items():
        rate, p99 = goals[name]
        yield compare(DURABLE, name, [it.rate for it in ours], [it.rate for it in loads], rate)
        if p99 is not None:
            yield compare(
                f"{DURABLE}, p99",
                name,
                [it.p99 for it in ours],
                [it.p99 for it in loads],
                p99,
                milliseconds,
            )


def _under_overload(
    ours: Sequence[Loaded], overloaded: Sequence[Loaded], memory: Sequence[float]
) -> Iterator[Figure]:
    what, itself = f"accept, {OVERLOAD} connections", f"itself at {CONNECTIONS}"
    linear = Goal(most=OVERLOAD / CONNECTIONS)
    yield compare(
        f"{what}, p99",
        itself,
        [it.p99 for it in overloaded],
        [it.p99 for it in ours],
        linear,
        milliseconds,
    )
    errors = sum(it.errors for it in (*ours, *overloaded))
    answered = sum(it.answered for it in (*ours, *overloaded))
    yield Figure(
        f"{what}, errors", "", f"{errors}", f"of {answered:,}", errors / answered, "0", not errors
    )
    grown = Goal(most=1.05)
    yield Figure(
        f"{what}, memory",
        "itself after the first round",
        megabytes(memory[-1]),
        megabytes(memory[0]),
        memory[-1] / memory[0],
        str(grown),
        grown.met_by(memory[-1] / memory[0]),
    )
