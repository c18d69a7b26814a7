"""The ladder: what each training optimisation buys, on this machine, in numbers that can be trusted.

Read `ladder` first (the rungs, as data), then `step` (the training step that they change), `worker` (one rung in one
process), `climb` (which rung is measured when) and `report` (what people see). Only `step` and `worker` load torch.
"""
