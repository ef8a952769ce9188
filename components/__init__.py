"""One folder a step of the loop, and what the steps share.

A step's folder holds its face for Kubeflow (`component.py`), its function (`run.py`) and its
README. `components` never imports `pipelines`, and steps never import each other.
"""
