"""A report as pages of A4. Only what is in here uses reportlab, which is an extra.

document.py   the file: pages, header and footer      sections.py   what stands on them
bars.py       the differential as bars                style.py      letters, colours, tables
"""
