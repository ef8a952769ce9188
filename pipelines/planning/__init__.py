"""What a run will take, before anything runs: requests, tokens, GPU hours, time, store and cost.

`requests` counts the work, `speed` says how fast a GPU does it, `estimate` puts both together for a
profile, `simulator` runs the result many times with lost nodes, slow nodes and a shared quota.
Nothing here needs torch, a cluster or the network.
"""
