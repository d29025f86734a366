"""The operator's file, and what was changed since without touching it."""

from agent.config.reading import DEFAULT_PATH, PROTOCOLS, load_config

__all__ = ["DEFAULT_PATH", "PROTOCOLS", "load_config"]
