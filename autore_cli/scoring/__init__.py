"""Scoring document-level triples against gold, whoever made them: no model, no torch.

`score` reads predictions and gold and returns a `Report` with every figure. The rules by which names, entities and
facts are compared stand in `names`, `alignment`, `metrics` and `official`, each with its source.
"""

from autore_cli.scoring.report import Options, Report, Role, score
from autore_cli.scoring.sources import Source, read

__all__ = ["Options", "Report", "Role", "Source", "read", "score"]
