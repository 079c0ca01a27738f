"""A run of extraction: which pipeline, on which devices, and what became of every document."""
