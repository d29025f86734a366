"""Asks devices for what they kept of their last days, many at a time, and brings each answer down to its account at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from agent.errors import TransferError, VigilError
from agent.fleet.accounts import Account, account, read_history
from agent.fleet.attachments import put_together
from agent.fleet.controller import Controller
from agent.fleet.operators import Order, SignedCommand
from agent.schema.messages import ReplyStatus, State
from agent.web.period import Period

_TEXT = 200
OFFLINE, UNHEARD = "offline", "never heard by this broker"
DAILY_SUMMARIES = "daily-summaries"


@dataclass(frozen=True)
class Answer:
    """What came of asking one device: its account, or why there is none."""

    device: str
    account: Account | None = None
    problem: str = ""


@dataclass(frozen=True)
class Asker:
    """Sends each device a command of its own.

    Attributes:
        controller: Connected; hears the devices that are asked.
        sign: Makes the command; called by one thread at a time.
        period: Which days.
        wait_s: How long a device may take.
        at_once: How many are asked at the same time.
    """

    controller: Controller
    sign: Callable[[Order], SignedCommand]
    period: Period
    wait_s: float = 60.0
    at_once: int = 32

    def ask(self, states: Sequence[State]) -> Iterator[Answer]:
        """Yield an answer for each device, as they come."""
        lock = threading.Lock()
        pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="vigil-ask")
        try:
            asked = [pool.submit(self._ask, state, lock) for state in states]
            for done in as_completed(asked):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _ask(self, state: State, lock: threading.Lock) -> Answer:
        device = state.device
        order = Order(DAILY_SUMMARIES, {"days": self.period.length}, f"d/{device}")
        try:
            with lock:
                command = self.sign(order)
            return Answer(device, self._exchange(state, command))
        except TransferError as error:
            told = "no answer in time" if error.code == "transfer.timeout" else str(error)
            return Answer(device, problem=told[:_TEXT])
        except VigilError as error:
            return Answer(device, problem=str(error)[:_TEXT])

    def _exchange(self, state: State, command: SignedCommand) -> Account:
        inbox = self.controller.inbox
        self.controller.send(command)
        try:
            end = inbox.wait_reply(command.id, self.wait_s, state.device)
        finally:
            # A fleet's answers together would fill the memory.
            replies = inbox.take_replies(command.id)
        if end.status is ReplyStatus.FAILED:
            raise TransferError(f"{end.code}: {end.message}")
        own = [one.data for one in replies if one.device == state.device]
        _, data = put_together([one["attachment"] for one in own if "attachment" in one])
        return account(read_history(data, state.device), state, self.period)


def heard(
    controller: Controller, devices: Sequence[str], listen_s: float
) -> tuple[list[State], dict[str, str]]:
    """Return the last states of those devices that are online, and why the others are not to be asked.

    Args:
        controller: Connected a moment ago: the broker tells it the retained states now.
        devices: Whom to ask for.
        listen_s: How long to wait for those that say nothing.
    """
    controller.inbox.wait_states(devices, listen_s)
    states = {one.device: one for one in controller.inbox.states()}
    missing = {name: UNHEARD for name in devices if name not in states}
    missing |= {name: OFFLINE for name in devices if name in states and not states[name].online}
    return [states[name] for name in devices if name not in missing], missing
