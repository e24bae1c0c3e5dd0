"""The quality check: a slide that is kept for it is looked at, and compared with what it showed when all was well.

measure.py    frames -> Measured: what the slide shows          expected.py   how far a count may be off by chance
reference.py  the limits' file; Measured and limits -> rows
"""
