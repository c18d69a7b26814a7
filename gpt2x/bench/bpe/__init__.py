"""`gpt2x bench bpe`: our tokenizer beside every other one that is installed, with the same vocabulary and texts.

Read `peers` first (the tokenizers, as records), then `inputs` (the texts), `measure` (which call is timed when),
`worker` (one tokenizer in one process) and `report` (what people see). `results` is the file that a run leaves behind.
None of it loads torch.
"""
