"""Checks of everything that a run needs before it starts: `lidr check`.

Each subject of its table (`kubeflow`, `store`, `model`, ...) is a generator of findings named
`<subject>_findings`, in the module of what it checks; `finding.run_subjects` runs them in parallel.
"""
