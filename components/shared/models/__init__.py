"""Models: where their files are, whether they may be loaded, and the stages that hold them.

Imports only lower packages: `tracking`, `inputs`, `store`, `records`, `config`, `core`.
"""
