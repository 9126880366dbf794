"""check_cases.py - the check of files that `qkscope cases` wrote, from the text of their prompts.

check_cases.py needle FILE COUNT LENGTHS DEPTHS VALUE NEEDLES [TASK_LENGTH [SENTENCE]]
check_cases.py arithmetic FILE COUNT LOW HIGH"""
import json
import re
import sys


def check(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


def needle(cases, lengths, depths, value, needles, task_length=None, sentence=80):
    """LENGTHS in bytes, of which prompts may lack a SENTENCE; a depth is met to half of one."""
    lengths, depths, needles, sentence = lengths.split(), depths.split(), int(needles), int(sentence)
    value = value.replace("\\{", "{").replace("\\}", "}")
    check({x["task"].split("@")[1] for x in cases} == ({task_length} if task_length else set(lengths)), "tasks")
    check({x["depth"] for x in cases} == {float(d) for d in depths}, "depths")
    for x in cases:
        prompt, answer = x["prompt"].encode(), x["answer"]
        length = int(lengths[0] if task_length else x["task"].split("@")[1])
        check(length - sentence < len(prompt) <= length, f"length {len(prompt)} of {length}")
        check(re.match(value, answer), f"value {answer}")
        question = re.search(rb"What is the code of ([a-z]{5})\? It is $", prompt)
        check(question, "the question at the end")
        fact = b"The code of %s is %s. " % (question[1], answer.encode())
        check(prompt.count(fact) == prompt.count(answer.encode()) == 1, "one answer")
        check(prompt.count(question[1]) == 2, "the key in needle and question")
        facts = re.findall(rb"The code of ([a-z]{5}) is ([^ ]*)\. ", prompt)
        check(len(facts) == needles == len({k for k, _ in facts}) == len({v for _, v in facts}), "needles")
        body = question.start() - len(fact)
        check(abs(prompt.index(fact) - x["depth"] * body) <= sentence / 2, "depth")


def arithmetic(cases, low, high):
    steps = set()
    for x in cases:
        check(x["answer_after"] == "Answer: " and x["answer_until"] == ".", "where the answer stands")
        start, rest = re.fullmatch(r"Problem: start with (\d+)((?:, (?:add|subtract) \d+)+)\. ", x["prompt"]).groups()
        now, numbers, response = int(start), {start}, "Steps: "
        operations = re.findall(r"(add|subtract) (\d+)", rest)
        for verb, number in operations:
            now += int(number) if verb == "add" else -int(number)
            numbers.add(number)
            check(0 < now < 100, "numbers of at most two digits")
            response += "12+34=56; "
        check(str(now) == x["answer"] and x["answer"] not in numbers, f"the answer {x['answer']}")
        check(len(response + "Answer: 56.") <= x["max_new_tokens"], "room for the response")
        steps.add(len(operations))
    check(steps == set(range(int(low), int(high) + 1)), f"steps {steps}")


with open(sys.argv[2], encoding="utf-8") as file:
    lines = [json.loads(line) for line in file]
check(len(lines) == int(sys.argv[3]), f"{len(lines)} cases")
{"needle": needle, "arithmetic": arithmetic}[sys.argv[1]](lines, *sys.argv[4:])
