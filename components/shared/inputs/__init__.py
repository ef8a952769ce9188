"""What users provide: prompt files, judge questions, and files from the web and the model hub.

Imports `core`, `config`, `records` and `store`.
"""
