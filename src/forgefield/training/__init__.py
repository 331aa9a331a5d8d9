"""Training: loss, weights, schedules, gradient training, least squares, checkpoints."""
