"""`gpt2x bench bpe --train`: learning a vocabulary, beside every other trainer that is installed.

Read `trainers` first (who is compared, as records), then `corpus` (the texts), `measure` (what is timed when, and the
whole run), `worker` (one training in one process), `merges` (what makes two results equal) and `report` (what people
see). `results` is the file that a run leaves behind. None of it loads torch.
"""
