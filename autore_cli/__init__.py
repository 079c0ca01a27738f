"""autore: document-level relation extraction."""
