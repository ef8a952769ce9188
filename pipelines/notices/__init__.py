"""Notices to a chat about runs that end, fail, wait or stall; kept on the store until sent."""
