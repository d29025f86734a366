"""What the agent says of itself: meters, drift, the outbox on disk and the reporter."""
