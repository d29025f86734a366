"""Keys, sealed containers, grants, signed envelopes, policy, ledger and floor: no network, no threads.

Hostile bytes end in `TrustError`; a key store that cannot be used now ends in `KeyUnavailableError`.
"""
