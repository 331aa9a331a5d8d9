"""The schema of one training run: what `train.yaml` may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from forgefield import descriptors, models
from forgefield.config import Schema, kind_of, parse
from forgefield.data import DataSettings
from forgefield.descriptors import DescriptorSettings, NEPSettings
from forgefield.errors import ConfigError
from forgefield.models import ModelSettings, NetworkSettings
from forgefield.models.scaler import ScalingKind
from forgefield.models.zbl import ZBLSettings
from forgefield.training.gradient import GradientSettings
from forgefield.training.least_squares import LeastSquaresSettings
from forgefield.training.loss import LossSettings
from forgefield.training.optimisers import OPTIMISERS, AdamSettings
from forgefield.training.weighting import WEIGHTINGS, BalancedSettings, WeightSettings, parse_weights

__all__ = ["TRAINERS", "CommitteeSettings", "RunSettings"]

TRAINERS: dict[str, type[GradientSettings | LeastSquaresSettings]] = {
    **{kind: optimiser.Settings for kind, optimiser in OPTIMISERS.items()},
    "least_squares": LeastSquaresSettings,
}


def _parse_training(values: Any) -> GradientSettings | LeastSquaresSettings:
    if isinstance(values, GradientSettings | LeastSquaresSettings):
        return values
    kind = kind_of(values, TRAINERS, "training", "adam")
    return parse(TRAINERS[kind], values, where="training")


class CommitteeSettings(Schema):
    """Several potentials as one."""

    members: int = Field(
        4,
        ge=2,
        le=64,
        description="potentials, trained one after the other from seeds `seed`, `seed` + 1, ...",
    )


class RunSettings(Schema):
    """Everything that determines a training run; saved with it, resolved, as config.yaml."""

    title: str = Field("", max_length=200, description="name of the run, shown in the report")
    data: DataSettings = Field(description="structures, labels, split, reference energies")
    descriptor: Annotated[SerializeAsAny[DescriptorSettings], BeforeValidator(descriptors.parse_settings)] = (
        Field(default_factory=NEPSettings, description="stage one and two of the potential")
    )
    model: Annotated[SerializeAsAny[ModelSettings], BeforeValidator(models.parse_settings)] = Field(
        default_factory=NetworkSettings, description="regression on the features"
    )
    zbl: ZBLSettings | None = Field(
        None,
        description="repulsion of nuclei at short distance, added to what is learned, such as {outer: 2.0}; null: none",
    )
    scaling: ScalingKind = Field("whitened", description="scaling of the features")
    free_atom: Literal["auto", "exact", "free"] = Field(
        "auto",
        description="energy of an atom without neighbours: exactly its reference energy, or whatever the fit gives; "
        "auto: exact where the references are isolated atoms or given",
    )
    loss: LossSettings = Field(
        default_factory=LossSettings, description="weights and normalisation of E, F, S"
    )
    group_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="factor on the weights of all structures of a group (config_type)"
    )
    weights: Annotated[SerializeAsAny[WeightSettings], BeforeValidator(parse_weights)] = Field(
        default_factory=BalancedSettings, description="change of the weights in training"
    )
    training: Annotated[
        SerializeAsAny[GradientSettings] | SerializeAsAny[LeastSquaresSettings],
        BeforeValidator(_parse_training),
    ] = Field(default_factory=AdamSettings, description="optimiser")
    committee: CommitteeSettings | None = Field(
        None,
        description="train several potentials, predict their mean, and judge its error by their spread; null: one",
    )
    extrapolation: bool = Field(
        default=False,
        description="store with the potential what tells how far an atom lies outside the training set (D-optimality)",
    )
    last_layer: bool = Field(
        default=False,
        description="store with the potential the posterior of its last layer, which gives uncertainties of energy, forces "
        "and stress (Laplace approximation); needs model.kind network or linear",
    )
    seed: int = Field(0, ge=0, description="of initial parameters and the order of structures")
    dtype: Literal["float32", "float64"] = Field("float32", description="number type of descriptor and model")
    threads: int | None = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads; null: all cores. More than one pays for large batches only",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.training, LeastSquaresSettings) and self.model.kind not in (
            "linear",
            "quadratic",
        ):
            raise ConfigError(
                f"`training.kind: least_squares` fits linear and quadratic models, but `model.kind` is "
                f"{self.model.kind!r}; set model.kind: linear or quadratic, or training.kind: adam"
            )
        if self.last_layer and self.model.kind not in ("network", "linear"):
            raise ConfigError(
                f"`last_layer: true` needs a model whose last layer is linear, but `model.kind` is {self.model.kind!r}; set "
                "model.kind: network or linear, or use a committee"
            )
        if self.last_layer and isinstance(self.model, NetworkSettings) and self.model.shared:
            raise ConfigError(
                "`last_layer: true` needs a last layer for each element, but `model.shared` is true; set model.shared: false, or "
                "use a committee"
            )
        optimiser = OPTIMISERS.get(self.training.kind)
        if optimiser is not None and optimiser.least_squares and WEIGHTINGS[self.weights.kind].signed:
            raise ConfigError(
                f"`weights.kind: {self.weights.kind}` may give a term of the loss a negative weight, but `training.kind: "
                f"{self.training.kind}` minimises a sum of squares; use another rule for the weights, or training.kind: adam"
            )
        if not any(self.loss.weights().values()):
            raise ConfigError(
                "all weights of `loss` are zero; nothing would be trained. Give energy, forces or stress"
            )
        return self
