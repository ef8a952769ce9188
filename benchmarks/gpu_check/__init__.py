"""What training and generation do on this machine's GPU, measured in one run (docs/training.md)."""
