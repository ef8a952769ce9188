"""Checks of everything that a run needs before it starts: `lidr check`.

Each subject in the command's table (`kubeflow`, `store`, `model`, ...) is a generator of findings,
named `<subject>_findings`. `finding.run_subjects` runs the subjects in parallel.
"""
