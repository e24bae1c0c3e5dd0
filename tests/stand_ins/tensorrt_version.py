"""Which version the stand-in behaves as."""

import os
import re

TEXT = os.environ.get("TENSORRT_STAND_IN_VERSION", "10.3.0")
VERSION = tuple(int(each) for each in re.findall(r"\d+", TEXT))
FAULT = os.environ.get("TENSORRT_STAND_IN_FAULT", "")
SECONDS = float(os.environ.get("TENSORRT_STAND_IN_SECONDS", "0"))
DEVICE = os.environ.get("LIBCUDA_STAND_IN_SM", "87")
