"""foreign_cases.py CASES OUT - writes the first case of a file as other tools and editors would, one file each.

read/ holds what is the same case under another spelling, refused/ what is refused.
"""
import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    case = json.loads(file.readline())
prompt, answer = case["prompt"], case["answer"]
out = sys.argv[2]


def write(name, text, encoding="utf-8"):
    path = os.path.join(out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as target:
        target.write(text.encode(encoding))


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


plain = {"prompt": prompt, "answer": answer}
wrong = {"prompt": prompt, "answer": "no such answer"}
ruler = {"index": 0, "input": prompt[:-9], "outputs": [answer], "length": 20, "length_w_model_temp": 20,
         "answer_prefix": prompt[-9:]}
generate = {"until": ["\n"], "do_sample": False, "max_gen_toks": 2 * len(answer)}
sample = {"doc_id": 0, "doc": {"outputs": [answer]}, "target": str([answer]), "resps": [["x"]], "filtered_resps": ["x"],
          "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": generate}}, "exact_match": float("nan")}

# Each holds the case and one whose answer is wrong.
write("read/plain.jsonl", lines(plain, wrong))
write("read/crlf.jsonl", lines(plain, wrong).replace("\n", "\r\n"))
write("read/bom.jsonl", "\ufeff" + lines(plain, wrong))
write("read/array.json", json.dumps([plain, wrong]))
write("read/pretty.json", json.dumps(plain, indent=2) + "\n" + json.dumps(wrong, indent=2))
write("read/pretty-array.json", json.dumps([plain, wrong], indent=4))
write("read/twice.jsonl", lines(wrong)[:-2] + ", " + lines(plain)[1:] + lines(wrong))
write("read/nulls.jsonl", lines({**plain, "id": None, "task": None, "depth": None, "max_new_tokens": None,
                                 "answer_after": None, "match": None, "stop": None}, wrong))
write("read/nan.jsonl", lines({**plain, "score": float("nan")}, {**wrong, "score": float("-inf")}))
write("read/unused.jsonl", lines(plain)[:-2] + r', "resps": "\u0000 \ud83d", "x\u2028": 1}' + "\n" + lines(wrong))
write("read/answers.jsonl", lines({**plain, "answer": ["no such answer", answer]}, wrong))
write("read/contains.jsonl", lines({**plain, "answer": answer[1:].upper(), "match": "contains"}, {**wrong, "match": "contains"}))
write("read/all.jsonl", lines({**plain, "answer": [answer[0], answer[1:]], "match": "contains", "require": "all"},
                              {**plain, "answer": [answer, wrong["answer"]], "match": "contains", "require": "all"}))
write("read/niah_single_1/validation.jsonl", lines(ruler, {**ruler, "outputs": [answer, wrong["answer"]]}))
write("read/qa_1/validation.jsonl", lines({**ruler, "outputs": [wrong["answer"], answer]},
                                          {**ruler, "outputs": [wrong["answer"]]}))
write("read/samples_niah_2025-11-01T12-00-00.123456.jsonl", lines(sample, {**sample, "target": wrong["answer"]}))
write("read/samples_lists_2024-01-01.jsonl", lines({**sample, "arguments": [[prompt, generate]]},
                                                    {**sample, "arguments": [[prompt, "no such answer"]]}))
chat = [{"role": "user", "content": prompt}]
write("chat/chat.jsonl", lines({"messages": chat, "answer": answer},
                               {"messages": chat + [{"role": "assistant", "content": wrong["answer"]}]}))

write("refused/latin1.jsonl", lines({**plain, "prompt": "\xe9" + prompt}), "latin-1")
write("refused/nul.jsonl", lines(plain, {**plain, "prompt": "a\0b"}))
write("refused/surrogate.jsonl", lines(plain)[:-2] + r', "answer": "\ud83d"}' + "\n")
write("refused/depth.jsonl", lines({**plain, "depth": 50}))
write("refused/longbench.jsonl", lines({"input": "q", "context": prompt, "answers": [answer], "length": 9}))
write("refused/alpaca.jsonl", lines({"instruction": "q", "input": prompt, "output": answer}))
write("refused/choices.jsonl", lines({**sample, "arguments": [[prompt, "a"], [prompt, "b"]]}))
write("refused/gsm8k.jsonl", lines({**sample, "target": "3 + 4 = 7\n#### 7"}))
write("refused/image.jsonl", lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "answer": "a"}))
write("refused/cut.jsonl", lines(plain) + lines(plain)[:40])
