"""What steps exchange: the records, their Parquet files, the chats that ask for them.

Imports `core` alone.
"""
