"""Pictures and documents made of frame reports and of recorded runs.

overlay.py  a field with its cells drawn on it        run.py, collect.py  what is said of a run, and where it is from
lines.py    its figures, which every form is made of  gallery.py          pictures of its cells
table.py    CSV    fhir.py, loinc.py    hl7.py    pdf/    words.py    corrected.py    form.py: the form that needs an extra
"""
