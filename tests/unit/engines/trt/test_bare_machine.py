"""What builds and runs plans needs Python, numpy and the vendor's packages alone: it is carried to machines with no more."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
ONLY_WITH_EDGECELL = {"engine", "plans"}
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
for module in MODULES:
    __import__(f"edgecell.engines.trt.{module}")
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"__main__"}
print(*sorted(name for name in outside if not name.startswith("_")))
"""


def test_they_import_with_numpy_alone() -> None:
    modules = sorted(path.stem for path in (ROOT / "edgecell/engines/trt").glob("*.py") if path.stem != "__init__")
    wanted = [name for name in modules if name not in ONLY_WITH_EDGECELL]
    assert {"execution", "cuda_python", "builder", "worker"} <= set(wanted)
    absent = {"msgspec", "cv2", "typing_extensions", "onnxruntime", "zmq", "click", "rich", "onnx"}
    program = f"MODULES = {wanted}\nABSENT = {absent}\n{PROGRAM}"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) <= {"edgecell", "numpy"}
