"""Generation of what the documents show from records and code: tables, figures and indexes.

A page holds blocks, each between ``<!-- generated: NAME ARGUMENTS -->`` and ``<!-- end generated -->``.
``python -m docs.generate`` fills them; ``--check`` names the pages that would change.
"""
