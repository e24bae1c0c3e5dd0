"""The page that a technician looks at: a small server in a process of its own, which reads the bus and the journal.

It is no part of the frame path: it listens as anybody may, and runs are processes of their own, which do not end with it. Needs
the extra `serve` as a whole, so only `edgecell serve` imports it, when it is called.
"""
