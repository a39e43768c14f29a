"""Tasks: from a TASK argument to the text and tokens of an example, and to the rules that judge an answer.

`task` is what a task is, `sources` what a TASK argument means, `task_set` the tasks of a run. Below them, each importing those above it:

formats    users' files: lines, conversations, dialogues, `task.yaml`; a task written as a folder
text       an example as text and as rows of tokens: templates, chat templates, the boundary of what is trained
examples   many examples: held-out parts, the nearest ones, leakage, faults of labels
everyday   general tasks of our own that suit any model in English
answers    what makes an answer right: choices, judges, rewards
loaders    one file for each way in which a task is named: a folder, `hf:`, `harness:`, `grid:`, `probe:`, a disguise
catalogue  the data sets of papers by name
"""
