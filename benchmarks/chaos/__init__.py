"""Faults put to the test: ``python -m benchmarks.chaos [--campaign NAME …] [--share 0.1] [--record]``.

A campaign is a module of ``campaigns`` with ``run(trial)``; it gives `Promise`s with counts.
``docs/reliability.md`` has the promises, and ``make chaos`` runs all campaigns.
"""
