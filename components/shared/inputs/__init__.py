"""What users bring: prompt files, judge questions, and the model hub.

Imports `core`, `config`, `records` and `store`.
"""
