"""Reading an archive of fields again, on one machine or many: the device's own frame path over every image of a folder tree.

The unit of work is a slide, since a run carries what it learns from field to field of one: the pooled scale, the stain, how
foreign it looks. So a slide is read by one process from its first image to its last, and what comes out does not depend on how
many there are. Each slide's result is a file of its own, put in place in one step when it is whole; a process that dies leaves
none, and its slide is read elsewhere. A second run reads only what is missing.
"""
