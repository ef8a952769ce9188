"""What a store may lose: finding it (`holdings.py`, `plan.py`), and removing it (`removal.py`)."""
