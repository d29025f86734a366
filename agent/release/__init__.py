"""Workstation tools: export, optimise, obfuscate, seal, sign and publish a model.

Never imported by the running agent.
"""
