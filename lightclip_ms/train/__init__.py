"""Training: objective, optimizer, step, checkpoints and the loop around them."""
