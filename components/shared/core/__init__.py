"""What everything else stands on: errors, events, digests, text, names, retries, processes.

Imports nothing else of lidr.
"""
