"""What the device tells of itself while it counts: how warm it is, what slows it down, its power mode, its disk and memory.

Read from files of the kernel (/sys, /proc) and, for a Jetson's power mode inside a container, from jetson-stats. Nothing here
is needed for counting: what a machine does not tell is unknown, never an error.
"""
