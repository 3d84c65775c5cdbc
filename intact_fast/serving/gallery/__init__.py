"""The gallery as a database: columns and features of pictures, brought up to date, searched and grouped."""

from intact_fast.serving.gallery.columns import read_pattern, read_table
from intact_fast.serving.gallery.grouping import pool, search_groups
from intact_fast.serving.gallery.search import Exclusion, Match, search_gallery
from intact_fast.serving.gallery.store import Gallery, Identity
from intact_fast.serving.gallery.update import Update, update_gallery

__all__ = [
    "Exclusion",
    "Gallery",
    "Identity",
    "Match",
    "Update",
    "pool",
    "read_pattern",
    "read_table",
    "search_gallery",
    "search_groups",
    "update_gallery",
]
