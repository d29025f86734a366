"""Whether the cameras still show what the model was made for: pure judgement of figures, no pictures."""
