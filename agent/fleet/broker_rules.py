"""Rules of the embedded broker: who a client is, and which topics it may use (amqtt plug-ins).

amqtt asks the TLS layer for a client certificate but lets clients without one through; here they are
refused. The user is the certificate's common name, whatever the client calls itself.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from agent.fleet.access import (
    BULK_SUFFIX,
    WATCH,
    device_may_publish,
    device_may_receive,
    is_controller,
)
from agent.schema.topics import DEFAULT_PREFIX

Members = Callable[[str], AbstractSet[str] | None]


class CertificateRules(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """Lets in who shows a certificate and keeps each device to its own topics."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._members: Members = self.config.members
        self._prefix: str = self.config.prefix
        self._groups: dict[str, AbstractSet[str]] = {}

    async def authenticate(self, *, session: Session) -> bool:
        """Say whether the client is the controller or a device that may connect under this client id."""
        user = common_name(session.ssl_object)
        session.username = user
        if is_controller(user) or user == WATCH:
            return str(session.client_id).startswith(user)
        groups = self._members(user) if user else None
        if groups is None or session.client_id not in {user, f"{user}{BULK_SUFFIX}"}:
            return False
        self._groups[user] = groups
        # amqtt would publish a last will without asking whether its owner may.
        return not session.will_flag or device_may_publish(
            user, str(session.will_topic), self._prefix
        )

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """Say whether the session's user may publish on, subscribe to or receive `topic`."""
        user = session.username if session is not None else None
        if not user or not topic:
            return False
        if is_controller(user) or user == WATCH:
            return user != WATCH or bool(action != Action.PUBLISH)
        if action == Action.PUBLISH:
            return device_may_publish(user, topic, self._prefix)
        return device_may_receive(user, self._groups.get(user, frozenset()), topic, self._prefix)

    @dataclass
    class Config:
        """What the plug-in is told: who may connect, and the first part of all topics."""

        members: Any
        prefix: str = DEFAULT_PREFIX


def common_name(connection: Any) -> str:
    """Return the common name of the client's verified certificate, empty when it showed none."""
    shown = connection.getpeercert() if connection is not None else None
    fields = [pair for part in (shown or {}).get("subject", ()) for pair in part]
    return next((value for name, value in fields if name == "commonName"), "")
