"""What is measured on an NVIDIA GPU, in stages of a few minutes: ``python -m benchmarks.gpu --stage NAME``.

A file for each stage; `stage` has what they share, and `requirements` what must be there first.
"""
