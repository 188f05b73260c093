"""Judges what was made: each image where it is made, and the batch when it ends.

An image is accepted, doubtful or rejected, by limits that are settings; each score is kept with it, and each
finding is a sentence. Nothing is deleted.
"""

from services.generator.curation.conclusion import Conclusion, JudgedImage, conclude
from services.generator.curation.curator import Curation, Curator, Examination, curator, reading_model
from services.generator.curation.findings import Code, Finding, Verdict, verdict
from services.generator.curation.settings import CurationSettings

__all__ = [
    "Code",
    "Conclusion",
    "Curation",
    "CurationSettings",
    "Curator",
    "Examination",
    "Finding",
    "JudgedImage",
    "Verdict",
    "conclude",
    "curator",
    "reading_model",
    "verdict",
]
