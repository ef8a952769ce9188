"""Whether the reward can be trusted: measured on translations and pairs, before training."""
