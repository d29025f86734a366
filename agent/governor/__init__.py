"""Holds latency and temperature by giving up frames, then pixels and accuracy, and takes them back."""
