"""The link: the device's connections to the broker, and all that the rest of Vigil needs to know of them."""

from agent.control.link.channels import RequestChannel
from agent.control.link.links import Links, make_links
from agent.control.link.loop import Link
from agent.control.link.traffic import Incoming, Presence, Subscription, Ticket

__all__ = [
    "Incoming",
    "Link",
    "Links",
    "Presence",
    "RequestChannel",
    "Subscription",
    "Ticket",
    "make_links",
]
