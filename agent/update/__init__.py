"""From a hint to a committed model, or back: state tables, journal, sources, installer, trial."""
