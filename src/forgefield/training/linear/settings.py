"""Settings of least squares."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from forgefield.config import Schema

__all__ = ["LeastSquaresSettings", "RowWeights", "SolverName"]

SolverName = Literal["ridge", "svd", "lasso", "elastic_net", "bayesian_ridge", "ard"]


class RowWeights(Schema):
    """Factors on the rows of one group, as in the group section of a FitSNAP input."""

    eweight: float = Field(ge=0, description="of the energy per atom [1/eV]")
    fweight: float = Field(ge=0, description="of each force component [Å/eV]")
    vweight: float = Field(ge=0, description="of each stress component [1/bar]")


class LeastSquaresSettings(Schema):
    """Solver of linear and quadratic models."""

    kind: Literal["least_squares"] = "least_squares"
    solver: SolverName = Field(
        "ridge",
        description="ridge: squares of the weights cost; svd: none does, small singular values are dropped; lasso and "
        "elastic_net: magnitudes cost, many weights become zero; bayesian_ridge and ard: the data choose the cost, of "
        "all weights alike or of each",
    )
    ridge: float | None = Field(
        1e-9,
        ge=0,
        description="Tikhonov term on scaled features, relative to the largest singular value squared; null: by "
        "cross-validation",
    )
    alpha: float | None = Field(
        None,
        gt=0,
        le=1,
        description="strength of lasso and elastic_net, relative to the least that makes all weights zero; null: by "
        "cross-validation",
    )
    l1_ratio: float = Field(
        0.5, gt=0, le=1, description="share of magnitudes in the cost of elastic_net; the rest are squares"
    )
    rcond: float = Field(
        1e-13, ge=0, lt=1, description="svd drops singular values below this share of the largest"
    )
    ard_threshold: float = Field(
        1e4,
        gt=0,
        description="ard drops weights with a larger precision, for features and labels of unit mean square",
    )
    folds: int = Field(
        5, ge=2, le=100, description="parts of the structures that cross-validation leaves out in turn"
    )
    row_weights: dict[str, RowWeights] = Field(
        default_factory=dict,
        description="factors on the rows of every group (config_type) in place of `loss`, such as {bulk: {eweight: 100, "
        "fweight: 1, vweight: 1e-8}}",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ridge is None and self.solver != "ridge":
            raise ValueError(f"`ridge: null` needs `solver: ridge`, got {self.solver!r}")
        return self

    @property
    def cross_validated(self) -> bool:
        """Whether a strength is left to the data that are held out."""
        if self.solver == "ridge":
            return self.ridge is None
        return self.solver in ("lasso", "elastic_net") and self.alpha is None
