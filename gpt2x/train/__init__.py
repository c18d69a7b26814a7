"""The trainer: from a file of texts to a run folder that Hugging Face, `gpt2x sing` and `gpt2x export` open.

Read in this order: `presets` (what is trained, as data), `config` (each setting with its meaning), `step` (one training
step), `loop` (all of them), then `checkpoint` (the run folder) and `distributed` (many ranks).
"""
