"""Pure data shared by all sides: frames, profiles, manifests, messages, topics. No I/O, no threads."""
