"""A bound on the time of one training iteration, counted without a GPU.

`trace` walks one iteration of the real networks and notes every `operation`. `costs` says which bytes each must move.
`bound` turns bytes and FLOPs into time on a chip, and `candidates` says what a further kernel would save.
"""
