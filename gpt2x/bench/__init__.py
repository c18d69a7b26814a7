"""The benchmarks: what training, decoding, operators and the tokenizer cost here, beside what others use.

What they share lies here and knows none of them: `contender` (what is measured), `effort` (how long), `interleave` (all
in turn, round by round), `process` and `worker` (each in a process of its own), `machine`, `energy`, `stats` and
`records`. A benchmark is a folder that adds its cases, its worker and its report: `ladder`, `step`, `decode`, `ops`,
`bpe`. Of the ladder read `ladder.rungs` first (the rungs, as data), then `ladder.step` and `ladder.climb`.
"""
