"""Trains the presets and writes what they reach into the README.

python benchmarks/scores [--only NAME ...] [--list] [--table]

Rows that are not trained keep their figures, which stand in figures.json beside this file.
"""

import argparse
from pathlib import Path

import score_table as table
import score_training as training

README = Path(__file__).parents[2] / "README.md"


def main() -> int:
    parser = argparse.ArgumentParser("scores", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[row.name for row in table.ROWS], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the rows and train nothing")
    parser.add_argument("--table", action="store_true", help="write the table anew and train nothing")
    words = parser.parse_args()
    figures, missed = table.read(), []
    for row in table.ROWS:
        if words.list:
            print(row.name)
        elif not words.table and (words.only is None or row.name in words.only):
            figures[row.name] = training.train(row)
            table.write(figures)
            if not row.reached(figures[row.name].value, figures):
                missed.append(row.name)
            print(f"{row.name}: {figures[row.name]}", flush=True)
    if not words.list:
        README.write_text(table.placed(README.read_text(), table.markdown(figures)))
    if missed:
        print(f"below their goal: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
