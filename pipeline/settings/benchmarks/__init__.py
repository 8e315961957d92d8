"""Settings of `clever benchmark`, one benchmark a file: its help loads no other's."""
