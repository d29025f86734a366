"""The mailbox between capture and inference: nobody waits at one that is closed."""

import threading

from agent.vision.mailbox import Mailbox, Taken


def test_who_waits_for_a_frame_is_let_go_when_the_mailbox_is_closed() -> None:
    mailbox: Mailbox[int] = Mailbox(["door"])
    waiting = threading.Thread(target=mailbox.take, args=(3600.0,), daemon=True)
    waiting.start()
    mailbox.close()
    waiting.join(30)
    assert not waiting.is_alive()
    assert mailbox.take(3600.0) is None


def test_a_frame_that_was_left_before_is_still_taken() -> None:
    mailbox: Mailbox[int] = Mailbox(["door"])
    mailbox.put("door", 7)
    mailbox.close()
    assert mailbox.take(0.0) == Taken(0, "door", 7)
