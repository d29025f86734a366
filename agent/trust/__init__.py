"""Everything that decides whom to believe: keys, sealed containers, envelopes, policy, audit, floor.

Verification returns the decoded thing or raises. No network and no threads live here.
"""
