"""What curation holds images to, as settings of the generator."""

from pydantic import BaseModel, Field


class CurationSettings(BaseModel, frozen=True):
    """The limits: of 1,000 clean phantoms fewer than 2 % lie beyond one of them (`benchmarks/curation.py`)."""

    curation_model: str = Field(
        "vhs-keypoints",
        description="Key-point model that reads what was made: NAME, for the version in production, or "
        "NAME/VERSION. Empty: none.",
    )
    curation_reference: str = Field(
        "",
        description="Manifest (Parquet) of the radiographs that the generating model learnt from: none of them "
        "may come back, and batches are compared with them. Empty: none.",
    )
    curation_least_contrast: float = Field(
        15.0, description="Least standard deviation of the grey levels (of 255); below, an image is empty."
    )
    curation_darkest: float = Field(25.0, description="Least mean grey level (of 255).")
    curation_brightest: float = Field(210.0, description="Highest mean grey level (of 255).")
    curation_most_black: float = Field(0.75, description="Highest share of black pixels.")
    curation_most_white: float = Field(0.25, description="Highest share of white pixels.")
    curation_least_sharpness: float = Field(
        0.525,
        description="Least difference between neighbouring pixels, over that between every other one, at 256 "
        "columns at most: 0.5 where all edges are slopes, 1 in noise.",
    )
    curation_copy_correlation: float = Field(
        0.7,
        description="Phase correlation with a radiograph of the reference, or with its mirror image, from which "
        "an image is a copy of it.",
    )
    # Of 300 phantoms, a copy moved by a hundredth of its width and compressed differs in up to 44, the most alike
    # of the others in 72.
    curation_duplicate_bits: int = Field(
        48,
        description="Bits of 256 in which the fingerprints of two images that show the same differ at most.",
    )
    curation_least_peak: float = Field(0.2, description="Lowest peak of the six heat maps, 0 to 1.")
    curation_most_distance: float = Field(
        2.0, description="Distance from the reading model's training images, in limits of its bundle."
    )
    curation_most_disagreement: float = Field(
        0.4, description="Mean distance of the points that two passes of the reading model find, in vertebrae."
    )
    curation_least_vhs: float = Field(5.0, description="Least VHS that a dog has, in vertebrae.")
    curation_most_vhs: float = Field(15.0, description="Highest VHS that a dog has, in vertebrae.")
