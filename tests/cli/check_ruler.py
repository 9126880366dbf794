"""check_ruler.py FILE TASK COUNT LENGTH [ESSAYS] - the check of `cases needle --ruler TASK` against RULER's definition.

The templates of its data generators (scripts/data/synthetic of github.com/NVIDIA/RULER) are filled in anew with what
stands in each prompt, and must give the prompt. LENGTH is in bytes, where a byte counts as a token."""
import json
import re
import sys

NIAH = ("Some special magic {type_needle_v} are hidden within the following text. Make sure to memorize it. I will "
        "quiz you about the {type_needle_v} afterwards.\n{context}\nWhat are all the special magic {type_needle_v} for "
        "{query} mentioned in the provided text? The special magic {type_needle_v} for {query} mentioned in the "
        "provided text are")
NEEDLE = "One of the special magic {type_needle_v} for {key} is: {value}."
VT = ("Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: "
      "Find all variables that are assigned the value {query} in the text above. Answer: According to the chain(s) of variable "
      "assignment in the text above, {num_v} variables are assgined the value {query}, they are: ")
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
KEY = {"words": r"[a-z]+-[a-z]+", "uuids": "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
       "numbers": "[1-9][0-9]{6}"}
# haystack, keys, values, number of keys, of values, of queries (scripts/synthetic.yaml)
TASKS = {
    "niah_single_1": ("repeat", "words", "numbers", 1, 1, 1),
    "niah_single_2": ("essay", "words", "numbers", 1, 1, 1),
    "niah_single_3": ("essay", "words", "uuids", 1, 1, 1),
    "niah_multikey_1": ("essay", "words", "numbers", 4, 1, 1),
    "niah_multikey_2": ("needle", "words", "numbers", 1, 1, 1),
    "niah_multikey_3": ("needle", "uuids", "uuids", 1, 1, 1),
    "niah_multivalue": ("essay", "words", "numbers", 1, 4, 1),
    "niah_multiquery": ("essay", "words", "numbers", 4, 1, 4)}


def check(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


def niah(prompt, answers, task, essays):
    haystack, key_kind, value_kind, n_keys, n_values, n_queries = TASKS[task]
    one = n_values * n_queries == 1
    template, plural = NIAH, value_kind
    if one:
        template = template.replace("Some", "A").replace("are all", "is").replace("are", "is")
        value_kind = value_kind[:-1]
    context = prompt.split("\n", 1)[1].rsplit("\n", 1)[0]
    query = re.search(r"for ((?:(?! for ).)*) mentioned in the provided text\?", prompt.rsplit("\n", 1)[1])[1]
    check(template.format(type_needle_v=value_kind, context=context, query=query) == prompt, "the template")
    needle = re.compile(re.escape(NEEDLE).replace(r"\{type_needle_v\}", plural)
                        .replace(r"\{key\}", f"({KEY[key_kind]})").replace(r"\{value\}", f"({KEY[plural]})"))
    found = needle.findall(context)
    asked = re.split(r", and |, ", query)
    check(len(asked) == n_queries == len(set(asked)), "queries")
    check([v for k in asked for k2, v in found if k == k2] != [] and
          sorted(v for k, v in found if k in asked) == sorted(answers), f"answers {answers} of {query}")
    check(len(answers) == n_values * n_queries == len(set(answers)), "number of answers")
    check(all(prompt.count(a) == 1 for a in answers), "answers stand once")
    rest = needle.sub("", context)
    if haystack == "needle":
        check(len(found) > 5 and rest.strip("\n") == "", "other needles alone")
        check(all(needle.fullmatch(line) for line in context.split("\n")), "one a line")
        return None
    check(len(found) == n_keys * n_values, "needles")
    if haystack == "repeat":
        check(set(context.split("\n")) - {NOISE} == {needle.search(context)[0]}, "five sentences a line")
        return context.split("\n").index(needle.search(context)[0]) / (len(context.split("\n")) - 1)
    if essays:
        words = re.sub(r"\s+", " ", essays).split(" ")
        words = [w for w in words if w]
        found = rest.split()
        again = words * (1 + len(found) // len(words))
        check(found == again[:len(found)], "the essays, from their beginning")
    return context.index(needle.search(context)[0]) / len(context) if n_keys == 1 else None


def chain(text, answers, value):
    """The context of a chain has the noise, and the assignments in their order."""
    assignments = re.findall(r"VAR ([A-Z]+) = (?:VAR ([A-Z]+) |(\d{5}))", text)
    check([a[0] for a in assignments] == answers, "variables in order")
    check(assignments[0][2] == value and [a[1] for a in assignments[1:]] == answers[:-1], "each is the one before")
    rest = re.sub(r"VAR [A-Z]+ = (VAR [A-Z]+ |\d{5})", "", text)
    check(set(line.strip() for line in rest.split("\n")) <= {NOISE, ""}, "noise")


def variable_tracking(prompt, answers):
    example, own = prompt.split("\n\n\n\n")
    for text, names in ((own, answers), (example, example.rsplit("they are:  ", 1)[1].split(" "))):
        value = re.search(r"assigned the value (\d{5}) in", text)[1]
        context = text.split("\n\n", 1)[1].rsplit("\nQuestion", 1)[0]
        filled = VT.format(context=context, query=value, num_v=5)
        check(text == filled or text == filled + " " + " ".join(names), "the template")
        chain(context, names, value)
    check(len(answers) == 5 and all(len(a) == 5 for a in answers), "five variables")


path, task, count, length = sys.argv[1:5]
with open(path, encoding="utf-8") as file:
    lines = [json.loads(line) for line in file]
essays = open(sys.argv[5], encoding="utf-8").read() if len(sys.argv) > 5 else None
check(len(lines) == int(count), f"{len(lines)} cases")
new = 30 if task == "vt" else 128
depths = []
for x in lines:
    check(x["task"] == f"{task}@{length}", "the task")
    answers = x["answer"] if isinstance(x["answer"], list) else [x["answer"]]
    check(x["match"] == "contains" and x["max_new_tokens"] == new, "how it is judged")
    check(len(answers) == 1 or x["require"] == "all", "all answers")
    size = len(x["prompt"].encode()) + new
    check(int(length) - 500 < size <= int(length), f"length {size}")
    if task == "vt":
        variable_tracking(x["prompt"], answers)
    else:
        place = niah(x["prompt"], answers, task, essays)
        check("depth" in x or not (task.startswith("niah_single") or task.startswith("niah_multikey")), "a depth")
        check(place is None or "depth" not in x or abs(place - x["depth"]) < 0.1, f"depth {place}")
    depths.append(x.get("depth"))
check(depths[0] is None or len(set(depths)) > len(depths) // 3, "many depths")
