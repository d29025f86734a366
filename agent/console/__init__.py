"""The local web page of one device: live view, state, events, health and metrics.

The console reads the rest of the agent through the callables of `agent.console.sources.Sources`; it
changes nothing and costs nothing while nobody watches.
"""
