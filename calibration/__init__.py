"""The workshop: datasets -> train -> export -> quantize -> evaluate -> bundle. Runs on a workstation, never on the device."""
