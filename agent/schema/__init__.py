<<<<<<< HEAD
"""Pure data that every side shares: no I/O, no clocks, no other part of Vigil but the error tree."""
=======
"""Pure data shared by all sides: frames, profiles, manifests, messages, topics. No I/O, no threads."""
>>>>>>> tooling
