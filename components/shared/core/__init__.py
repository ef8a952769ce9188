"""What everything else stands on: errors, events, digests, text, names, redaction, retries, processes.

Imports nothing else of lidr.
"""
