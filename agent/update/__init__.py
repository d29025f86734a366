"""From an offer to a committed or rolled back release.

Rules
- Trust decides, transports never do: python-tuf and the floor say what may be installed; sources bring bytes.
- Journal first, act second; what the journal says is enough to finish or undo after a power cut.
- There is always exactly the old or the new model, never none.
"""
