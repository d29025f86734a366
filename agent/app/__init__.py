"""The agent as a whole: its parts built, connected, started in order and stopped in reverse."""

from agent.app.agent import Agent

__all__ = ["Agent"]
