#!/usr/bin/env python3
"""check_reference.py REFERENCE FOUND... - the comparison of eval --json with reference.json, row by row and task by
task: 2 points apart at most, 3 where the reference was computed in bfloat16. Prints the table; exit 1 on a difference,
or on a row or a task that is missing. The row of a checkpoint alone has the name of its folder."""
import json
import os
import sys

SINGLE, BFLOAT16 = 2, 3


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        reference = json.load(file)
    found = {}
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            for row in json.load(file)["results"]:
                name = row["name"] if "set" in row else os.path.basename(row["name"])
                found[name] = {task["task"]: 100 * task["right"] / task["total"] for task in row["tasks"]}
    tasks = [key for key, value in reference["rows"][0].items() if isinstance(value, float)]
    wrong = 0
    print(f"{'':30}" + "".join(f"{task:>21}" for task in tasks))
    for row in reference["rows"]:
        most = BFLOAT16 if row["arithmetic"].startswith("bfloat16") else SINGLE
        line = f"{row['name']:30}"
        for task in tasks:
            figure = found.get(row["name"], {}).get(task)
            bad = figure is None or abs(figure - row[task]) > most
            wrong += bad
            line += f"{'missing' if figure is None else f'{figure:.0f} of {row[task]:.0f}':>20}{'!' if bad else ' '}"
        print(line.rstrip())
    print(f"{len(reference['rows']) * len(tasks)} figures, found of reference, in percent; "
          f"{wrong} more than {SINGLE} points apart ({BFLOAT16} for bfloat16 rows)")
    sys.exit(wrong > 0)


main()
