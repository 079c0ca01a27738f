"""What a run extracts with: the bundle and the options that decide what comes out, and the pipeline made of them."""

from dataclasses import dataclass, replace
from pathlib import Path

from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle
from autore_cli.model.derived import schema_of
from autore_cli.pipeline import Pipeline
from autore_cli.schema import Schema, load
from autore_cli.stages import Prompts, paradigm


@dataclass(frozen=True, slots=True)
class Setup:
    """Which pipeline to make. Plain values, so that it can travel to another process as JSON.

    Attributes:
        model: a packaged bundle's name, or a bundle's folder.
        schema: a schema file; None is the bundle's own schema.
        batch_size: rows that are computed at once; None leaves it to the generator.
        min_score: triples with a lower score are left out; None is the bundle's own limit.
    """

    model: str
    schema: str | None = None
    batch_size: int | None = None
    min_score: float | None = None

    def bundle(self) -> Bundle:
        """The bundle. Raises BundleError as `bundle.find` does."""
        return bundles.find(self.model)

    def relations(self, bundle: Bundle) -> Schema:
        """The relations that may come out. Raises ConfigurationError for a schema that can't be used."""
        return load(Path(self.schema)) if self.schema else schema_of(bundle)

    def pipeline(self, device: str) -> Pipeline:
        """Loads the model onto a device. Imports what is heavy.

        Raises:
            BundleError, ConfigurationError: as `model.load.load`.
        """
        from autore_cli.model.load import load as load_generator

        bundle = self.bundle()
        calibration = bundle.calibration
        if self.min_score is not None:
            calibration = replace(calibration, threshold=self.min_score)
        return Pipeline(
            load_generator(bundle, device=device, batch_size=self.batch_size),
            paradigm(bundle.paradigm),
            prompts(bundle),
            {name: stage.decoding for name, stage in bundle.stages.items()},
            self.relations(bundle),
            calibration,
        )


def prompts(bundle: Bundle) -> Prompts:
    """The bundle's prompts; loads its tokenizer if they need a chat template."""
    if not bundle.needs_chat_template():
        return bundle.prompts()
    from autore_cli.model.encoder import load_encoder

    return bundle.prompts(*load_encoder(bundle).chat_ends())
