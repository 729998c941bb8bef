"""Hostile inputs by the thousand: a generator for each kind of input, and the code that has to survive it.

`make_*.py` build inputs and know nothing of the package; `kinds.py` says what is done with each; `runner.py` counts.
"""
