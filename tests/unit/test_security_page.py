"""deploy/security.md: every test that it calls as a witness exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITNESS = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_defence_has_its_witness() -> None:
    text = (ROOT / "deploy" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 10
    for row in rows:
        witnesses = WITNESS.findall(row)
        assert witnesses, row
        for path, name in witnesses:
            assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name
