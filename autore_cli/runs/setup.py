"""What a run extracts with: the bundle and the options that decide what comes out, and the pipeline made of them."""

from dataclasses import dataclass, replace
from pathlib import Path

from autore_cli.errors import BundleError
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle
from autore_cli.model.derived import schema_of
from autore_cli.model.weights import Weights
from autore_cli.pipeline import Pipeline
from autore_cli.runs import identity
from autore_cli.schema import Schema, load
from autore_cli.stages import paradigm


@dataclass(frozen=True, slots=True)
class Setup:
    """Which pipeline to make. Plain values, so that it can travel to another process as JSON.

    Attributes:
        model: a packaged bundle's name, or a bundle's folder.
        paradigm: one of `stages.PARADIGMS`; None is the bundle's own.
        schema: a schema file; None is the bundle's own schema.
        batch_size: passages that are at work at once; None leaves it to the generator.
        min_score: triples with a lower score are left out; None is the bundle's own limit.
        weights: how the model's weights are held (`--dtype`).
        state: the bundle's files when the run began (`identity.state`), to be found unchanged by all that load it;
            None asks for nothing.
        trust_remote_code: whether to run the Python files that come with the base.
    """

    model: str
    schema: str | None = None
    batch_size: int | None = None
    min_score: float | None = None
    paradigm: str | None = None
    weights: Weights = "auto"
    state: str | None = None
    trust_remote_code: bool = False

    def bundle(self) -> Bundle:
        """The bundle. Raises BundleError as `bundle.find` does, and ConfigurationError for an unknown paradigm."""
        bundle = bundles.find(self.model)
        return bundle.with_paradigm(self.paradigm or bundle.paradigm)

    def relations(self, bundle: Bundle) -> Schema:
        """The relations that may come out. Raises ConfigurationError for a schema that can't be used."""
        return load(Path(self.schema)) if self.schema else schema_of(bundle)

    def files(self, bundle: Bundle) -> str:
        """The files that it all depends on: see `identity.state`."""
        return identity.state(bundle, *([Path(self.schema)] if self.schema else []))

    def pipeline(self, device: str) -> Pipeline:
        """Loads the model onto a device. Imports what is heavy.

        Raises:
            BundleError: a part is missing or damaged, parts don't fit each other, or files changed (`state`).
            ConfigurationError: there is no such device.
        """
        from autore_cli.model.encoder import load_encoder, prompts
        from autore_cli.model.load import load as load_generator

        bundle = self.bundle()
        calibration = bundle.calibration
        if self.min_score is not None:
            calibration = replace(calibration, threshold=self.min_score)
        encoder = load_encoder(bundle, trust_remote_code=self.trust_remote_code)
        generator = load_generator(
            bundle,
            encoder=encoder,
            device=device,
            batch_size=self.batch_size,
            weights=self.weights,
            trust_remote_code=self.trust_remote_code,
        )
        if self.state is not None and (changed := identity.changed(self.state, self.files(bundle))):
            raise BundleError("changed during the run", where=changed[0], hint="run again, with --resume or --force")
        return Pipeline(
            generator,
            paradigm(bundle.paradigm),
            prompts(bundle, encoder),
            {name: stage.decoding for name, stage in bundle.stages.items()},
            self.relations(bundle),
            calibration,
            bundle.shapes(),
        )
