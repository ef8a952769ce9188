"""Looking at everything that a run needs before it starts, and saying what is missing.

A *subject* (`kubeflow`, `store`, `model`, ...) is a module with one generator of findings;
`subjects` names them in their order, `runner` runs them side by side, each with a time limit.
"""
