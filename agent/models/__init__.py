"""A release on disk: choose the variant that fits, keep staged, active and previous ones."""
