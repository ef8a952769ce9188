"""Train: preference pairs turn M_t into M_{t+1} by DPO with an NLL term (paper, section 3.3).

`forward`, `distributed` and `export` are the trainer's parts, `launch` starts it. Imports
`shared`.
"""
