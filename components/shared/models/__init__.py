"""Models: where their files are, whether they may be loaded, and the stages that hold them.

Imports what lies below: `tracking`, `inputs`, `store`, `records`, `config`, `core`.
"""
