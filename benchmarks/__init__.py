"""What is measured on a workstation: frames to measure on, and baselines to measure against. Not in the wheel."""
