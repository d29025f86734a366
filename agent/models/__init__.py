"""A release on disk: recognise the board's profile, choose a variant, store it and open it."""
