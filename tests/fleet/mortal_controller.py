"""`vigil fleet serve` in a process of its own that tells its moments, and dies of SIGKILL at one of them.

Moments are the sides of everything that lasts: each commit of a change, each message that is published, each reply that is
heard. They are named by what happens, without times and ids, so that two lives of the same story have the same moments. A
life that goes on with another's story may be told to die at a number instead: at so many moments, if it comes to that.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import sqlalchemy as sql
from sqlalchemy.engine.default import DefaultDialect

from agent.__main__ import main
from agent.fleet import rollout_runner
from agent.fleet.inbox import Inbox
from agent.fleet.rollout_runner import RolloutRunner
from agent.host.clock import wall_ms
from agent.schema.document import parse_json
from agent.schema.messages import Reply
from agent.schema.topics import ParsedTopic

STATE = "heard the state of "
_STEP_S = 0.02  # between two looks at the roll-out, which are a second apart in service
_NAMED = ("device_1", "step", "standing", "reason")
_PATIENCE_S = 30.0
_CONTEXT = multiprocessing.get_context("forkserver")
# What serving imports when it begins, so that the processes need not each do it again.
_IMPORTED = (
    "agent.cli.fleet",
    "agent.fleet.controller",
    "agent.fleet.database_upgrade",
    "agent.fleet.enrolment_service",
    "agent.fleet.instance",
    "agent.fleet.own_certificates",
    "agent.fleet.page",
    "agent.release.repository",
    "agent.web.serving",
    "sqlalchemy.dialects.sqlite",
)


def clock_ahead() -> Synchronized[int]:
    """Return how far the clock of roll-outs is ahead in the controllers that are given it, milliseconds."""
    return _CONTEXT.Value("q")


def born(
    folder: Path, log: Path, last: str | int = "", ahead_ms: Synchronized[int] | None = None
) -> BaseProcess:
    """Start a controller of a fleet's folder; it writes its moments to `log` and dies at the one named `last`.

    It is forked from a process that has imported everything and has one thread: a start costs a tenth of a second.
    """
    _CONTEXT.set_forkserver_preload([__name__, *_IMPORTED])
    process = _CONTEXT.Process(target=_live, args=(folder, log, last, ahead_ms))
    process.start()
    return process


def _live(folder: Path, log: Path, last: str | int, ahead_ms: Synchronized[int] | None) -> None:
    if ahead_ms is not None:
        ahead: Synchronized[int] = ahead_ms
        early = functools.partial(RolloutRunner, now_ms=lambda: wall_ms() + ahead.value)
        rollout_runner.RolloutRunner = early  # type: ignore[assignment, misc]
    moments = Moments(log, last)
    watch_commits(moments)
    watch_publications(moments)
    watch_replies(moments)
    rollout_runner._EVERY_S = _STEP_S
    sys.argv = ["vigil", "fleet", "serve", str(folder)]
    main()


class Moments:
    """Writes moments down, and ends the process at the one that is its `last`."""

    def __init__(self, log: Path, last: str | int) -> None:
        self.last = last
        self._count = 0
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._one_at_a_time = threading.Lock()

    def reach(self, moment: str) -> None:
        with self._one_at_a_time:
            os.write(self._log, f"{moment}\n".encode())
            self._count += 1
            if self.last in {moment, self._count}:
                os.kill(os.getpid(), signal.SIGKILL)


def watch_commits(moments: Moments) -> None:
    """Tell of each transaction that changes something: when its statements were executed, and when they last."""

    @sql.event.listens_for(sql.Engine, "after_cursor_execute")
    def keep(
        connection: sql.Connection,
        _cursor: Any,
        _statement: str,
        _values: Any,
        context: Any,
        _: Any,
    ) -> None:
        if context.isinsert or context.isupdate or context.isdelete:
            given = context.compiled_parameters[0]
            said = [str(given[name]) for name in _NAMED if name in given]
            table = context.compiled.statement.table.name
            connection.info.setdefault("changes", []).append(" ".join([table, *said]))

    commit: Any = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, connection: Any) -> None:
        changes = "; ".join(connection.info.pop("changes", ()))
        if changes:
            moments.reach(f"before the commit of {changes}")
        commit(self, connection)
        if changes:
            moments.reach(f"after the commit of {changes}")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def watch_publications(moments: Moments) -> None:
    """Tell of each message: before it is sent, when it is on its way, and when the broker has it for certain."""
    publish = paho.Client.publish

    def watched(self: paho.Client, topic: str, *args: Any, **kwargs: Any) -> paho.MQTTMessageInfo:
        moments.reach(f"before sending {topic}")
        info = publish(self, topic, *args, **kwargs)
        moments.reach(f"after sending {topic}")
        acknowledged = f"the broker has {topic}"
        if moments.last == acknowledged:
            info.wait_for_publish(_PATIENCE_S)
        moments.reach(acknowledged)
        return info

    paho.Client.publish = watched  # type: ignore[method-assign]


def watch_replies(moments: Moments) -> None:
    """Tell of each message of a device that comes, before it is taken in and acknowledged to the broker."""
    put = Inbox.put

    def watched(self: Inbox, topic: ParsedTopic, payload: bytes, *rest: Any) -> None:
        if topic.leaf == "reply":
            status = parse_json(payload, Reply).status.value
            moments.reach(f"hearing that {topic.device} {status}")
        put(self, topic, payload, *rest)
        if topic.leaf == "state":
            moments.reach(f"{STATE}{topic.device}")

    Inbox.put = watched  # type: ignore[method-assign, assignment]
