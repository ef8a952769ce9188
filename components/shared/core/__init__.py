"""What everything else uses: errors, events, digests, text, names, retries, processes.

Imports nothing else of lidr.
"""
