"""Frames that are worth a label: chosen, sealed to the fleet's key, kept until somebody fetches them."""
