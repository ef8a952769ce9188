"""Serve: vLLM with the champion, and the follower that replaces it. Imports `shared`."""
