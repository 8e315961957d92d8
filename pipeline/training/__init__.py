"""What every training job shares: job, loop, batches, optimisation, state, log, seeds."""
