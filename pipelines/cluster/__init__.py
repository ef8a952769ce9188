"""Driving runs in a cluster: submitting, watching, cancelling, scheduling."""
