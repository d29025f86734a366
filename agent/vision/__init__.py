"""The worker's side: cameras, runtimes, decoders, tracking and rules.

The only room of the running agent that loads OpenCV or an inference runtime. This file stays
empty, so that a light module of this room can be imported without them.
"""
