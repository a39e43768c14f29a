"""Read the prompts of `holdfast generate`: plain lines, or JSON lines."""

import json


def parse_prompts(text: str, name: str) -> list[str]:
    """Return the prompts in plain lines, or in JSON lines with `prompt` or `input`; `name` is that of the file, for messages.

    Raises:
        ValueError: lines that are neither; all of them are named.
    """
    prompts, wrong = [], []
    # Not `splitlines`: a text may hold U+2028 and other separators, which JSON leaves as they are.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            prompts.append(line)
            continue
        try:
            record = json.loads(line)
            prompt = record["prompt"] if "prompt" in record else record["input"]
            if isinstance(prompt, str):
                prompts.append(prompt)
            else:
                wrong.append(f"{name}:{number}: its prompt is no text; write it in quotes")
        except json.JSONDecodeError as error:
            wrong.append(f"{name}:{number}: not JSON ({error.msg})")
        except KeyError:
            wrong.append(f"{name}:{number}: has neither `prompt` nor `input`")
    if wrong:
        raise ValueError("\n".join(wrong))
    return prompts
