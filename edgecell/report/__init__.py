"""Pictures and, later, documents made from frame reports."""
