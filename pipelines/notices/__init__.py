"""Notices: what somebody is told who does not look. A run's own are on its store until sent."""
