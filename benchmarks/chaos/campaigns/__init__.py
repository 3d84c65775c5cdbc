"""The campaigns of `benchmarks.chaos`, one a file; each has `run`, which gives its promises."""
