"""The report of a batch: one HTML file with its pictures inside, for those who decide what it is used for."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from PIL import Image

from canicor.errors import InvalidArgument
from canicor.radiograph import decode
from services.generator.curation.findings import Code, Verdict
from services.generator.curation.pictures import picture

# Of a picture in the report.
_WIDTH, _QUALITY = 220, 80


@dataclass(frozen=True)
class Picture:
    """What is shown.

    Attributes:
        name: Under it.
        content: The file.
        sentences: What speaks against it.
    """

    name: str
    content: bytes
    sentences: Sequence[str]


@dataclass(frozen=True)
class Report:
    """What the report says.

    Attributes:
        facts: Of the batch, by name.
        counts: Images by verdict.
        codes: Of all findings.
        fidelity: As `curation.fidelity`.
        pictures: Of the batch, by verdict.
        reference: Radiographs that the batch is held beside.
    """

    facts: Mapping[str, str]
    counts: Mapping[Verdict, int]
    codes: Sequence[Code]
    fidelity: Mapping[str, float]
    pictures: Mapping[Verdict, Sequence[Picture]]
    reference: Sequence[Picture]

    def html(self) -> str:
        """Returns the page."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        source = (files("services.generator.curation") / "report.html.j2").read_text(encoding="utf-8")
        sheets = [(kind.lower(), pictures) for kind, pictures in self.pictures.items()]
        return environment.from_string(source).render(
            facts=self.facts,
            counts=self.counts,
            codes=Counter(self.codes).most_common(),
            fidelity=self.fidelity,
            sheets=[
                (title, [(one.name, _data(one.content), one.sentences) for one in pictures])
                for title, pictures in [*sheets, ("reference", self.reference)]
                if pictures
            ],
        )


def _data(content: bytes) -> str:
    """Returns a picture as an HTML page holds it."""
    image = _image(content)
    image.thumbnail((_WIDTH, _WIDTH))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _image(content: bytes) -> Image.Image:
    try:
        return Image.fromarray(picture(decode(content)))
    except InvalidArgument:
        # What has no contrast, or colours, is shown as it is.
        return Image.open(io.BytesIO(content)).convert("L")
