"""Smaller networks from trained ones: channels taken out, and what they knew taught again. Needs the extra `release`."""
