"""Asking a person for a secret, at the terminal that this process belongs to."""

from __future__ import annotations

import getpass
import os

from agent.errors import ConfigError

_TERMINAL = "/dev/tty"


def ask_secret(what: str, hint: str) -> str:
    """Return what a person types; it is not shown, and is asked for at the terminal even where input and output are redirected.

    Args:
        what: The question, without a colon.
        hint: What to do where there is no terminal.

    Raises:
        ConfigError: `terminal.missing`: there is nobody to ask; `terminal.nothing`: nothing was typed.
    """
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        message = f"{what}: there is no terminal to ask at"
        raise ConfigError(message, code="terminal.missing", hint=hint) from error
    try:
        typed = getpass.getpass(f"{what}: ")
    except EOFError:
        typed = ""
    if not typed:
        raise ConfigError(f"{what}: nothing was typed", code="terminal.nothing", hint=hint)
    return typed
