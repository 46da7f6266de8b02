"""What a request may say about how its pictures are looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from apvit.engines import Keep

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Options(BaseModel):
    """Options of `/v1/recognize` and `/v1/explain`; they mean what they mean to `apvit recognize`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Compute dial: share of the patches that pooling keeps (0.8), and if wanted of the tokens "
            "after each block (0.8:1,1,.9,.9). Default: what the weights' card says.",
            examples=["0.5"],
        ),
    ] = None
    min_probability: Annotated[
        Fraction, Field(description="Leave the expression of a face open (null) whose top probability is lower.")
    ] = 0.0
    max_faces: Annotated[
        int | None,
        Field(ge=1, description="Only so many faces of each picture, the largest.", examples=[10]),
    ] = None
    detector: Annotated[
        Literal["mtcnn", "yunet", "none"] | None,
        Field(description="none: every picture already is one face. Default: the service's detector."),
    ] = None
    min_detection: Annotated[
        Fraction | None,
        Field(description="Lowest detection score that counts as a face. Default: the detector's own."),
    ] = None
    min_face: Annotated[
        float | None,
        # Time grows with pixels over min_face², so that the smallest faces are not a caller's to ask for.
        Field(ge=24, le=10_000, allow_inf_nan=False, description="Smallest face to look for, in pixels."),
    ] = None

    @field_validator("keep")
    @classmethod
    def _is_a_dial(cls, keep: str | None) -> str | None:
        if keep is not None:
            Keep.parse(keep)
        return keep
