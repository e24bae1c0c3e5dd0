"""What both ends of the bus need: where it is, who may listen, and how what was missed is asked for and put in order."""
