"""Each stage's budget, as its time beside that of a fixed piece of work: a stage that has become slower is found.

    python -m benchmarks.budgets            # exit code 1 and the stage's name where one takes 1.3 times its budget
    python -m benchmarks.budgets --write    # after a change that was meant: budgets are what is measured now

Milliseconds are those of one machine at one hour; the ratio to work of the same kind in the same second is not, as long as the
processor has the same instructions, which is what `budgets.toml` keeps them by. Measured on drawn frames, so that it runs
anywhere. What is over its budget is measured again, twice: what is slower by itself stays so, and what others do on the machine
does not.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks import frames, stages
from benchmarks.frames import Image
from edgecell.cli.doctor import machine
from edgecell.errors import EdgecellError, SettingsError
from edgecell.messages import NOTICE

FILE = Path(__file__).with_name("budgets.toml")
SLACK = 1.3
"""A stage may take so many times its budget."""
SMALL = 0.02
"""Of the fixed work: what takes less is not watched, since the clock around it weighs as much."""
TRIES = 3
SIZE_PX = (1280, 720)
NUCLEATED = (7, 8, 9)
"""Of each frame. It has room for 18."""
ROUNDS = 12

Budgets = Mapping[str, float]


def images() -> list[Image]:
    """What is measured on: pieces of a phantom slide."""
    return [frames.laid(count, SIZE_PX, 0.1) for count in NUCLEATED]


def processor() -> str:
    """The instructions that decide how fast networks are, as `edgecell doctor` names them: `x86_64 (AVX2, AVX512-VNNI)`."""
    facts = {entry.subject: entry.has for entry in machine(Path("/"))}
    return f"{facts['system'].rsplit(', ', 1)[-1]} ({facts['processor'].partition('(')[2].rstrip(')')})"


def measured(some: Sequence[Image]) -> dict[str, float]:
    """Stage -> time over that of the fixed work. Raises EdgecellError."""
    return {each.name: each.fixed for each in stages.measure(some, ROUNDS).stages}


def budgets(file: Path = FILE) -> Budgets:
    """Of this processor. Raises SettingsError where there are none."""
    known = _read(file)
    if processor() not in known:
        what = f"{file.name} has no budgets for {processor()}, only for {', '.join(sorted(known)) or 'none'}"
        raise SettingsError(what, fix="make them on a quiet machine: python -m benchmarks.budgets --write")
    return known[processor()]


def over(allowed: Budgets, some: Sequence[Image]) -> dict[str, float]:
    """Stage -> times its budget, of those that took more than SLACK times their budget in every one of TRIES."""
    worst: dict[str, float] = {name: float("inf") for name, budget in allowed.items() if budget >= SMALL}
    for _ in range(TRIES):
        found = measured(some)
        worst = {name: min(times, found.get(name, 0.0) / allowed[name]) for name, times in worst.items()}
        worst = {name: times for name, times in worst.items() if times > SLACK}
        if not worst:
            break
    return worst


def write(file: Path = FILE) -> Budgets:
    """Keep the least of TRIES for this processor, beside those of others."""
    known = _read(file) if file.exists() else {}
    some = images()
    tries = [measured(some) for _ in range(TRIES)]
    known[processor()] = {name: round(min(each[name] for each in tries), 4) for name in tries[0]}
    head = f"# Made by `python -m benchmarks.budgets --write`: time of each stage over that of the fixed work.\n# {NOTICE}\n"
    tables = (
        f'\n["{name}"]\n' + "".join(f"{stage} = {each}\n" for stage, each in of.items()) for name, of in sorted(known.items())
    )
    file.write_text(head + "".join(tables), encoding="utf-8")
    return known[processor()]


def _read(file: Path) -> dict[str, dict[str, float]]:
    """Processor -> stage -> budget."""
    return msgspec.toml.decode(file.read_bytes(), type=dict[str, dict[str, float]])


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where a stage is over its budget; else the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what is measured now")
    asked = parser.parse_args(arguments)
    try:
        allowed = write() if asked.write else budgets()
        found = {} if asked.write else over(allowed, images())
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name, budget in allowed.items():
        told = (
            f"{found[name]:.2f} times its budget: too slow" if name in found else "kept" if budget >= SMALL else "not watched"
        )
        print(f"{name:12} {budget:.3f} of the fixed work  {told}")
    print(NOTICE)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
