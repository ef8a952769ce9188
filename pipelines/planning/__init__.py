"""What a run will take, before anything runs: requests, tokens, GPU hours, time, store and cost.

`requests` counts the work, `speed` says how fast a GPU does it, `estimate` puts both together for a
profile, `simulator` plays the result through with interruptions, slow nodes and a shared quota.
Nothing here needs torch, a cluster or the network.
"""
