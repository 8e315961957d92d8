"""What every training job shares: job, loader, steps, loop, signals, state, log."""
