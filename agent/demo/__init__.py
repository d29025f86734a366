"""The bundled demonstration: a procedural conveyor scene with exact ground truth, its video and its models."""
