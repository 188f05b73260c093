"""The generator's batches, as images of a project: referenced where they lie, not copied."""

from collections.abc import AsyncGenerator

from canicor.client import DEFAULT_DEADLINE, aio_channel, translated
from canicor.errors import (
    CanicorError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from canicor.generator.v1 import generator_pb2 as generator
from canicor.generator.v1.generator_pb2_grpc import GeneratorServiceStub
from canicor.labeling.v1 import labeling_pb2 as pb
from canicor.settings import ClientSettings
from services.labeling.tables import Image

_PAGE = 1000

# Those made before there was curation too.
_ACCEPTED = (generator.VERDICT_UNSPECIFIED, generator.VERDICT_ACCEPTED)


class Generator:
    """The generator, as this service calls it.

    Args:
        settings: Its address, the token to send, and TLS.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._address = settings.generator_address
        self._channel = aio_channel(self._address, settings)
        self._stub = GeneratorServiceStub(self._channel)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def pages(
        self, project: str, batch_id: str, *, with_doubtful: bool
    ) -> AsyncGenerator[list[Image], None]:
        """Yields the images of a batch that are made so far and that its curation accepts, page by page, by index.

        Args:
            project: What they are images of.
            batch_id: The batch's.
            with_doubtful: Yield the doubtful ones too.

        Raises:
            NotFound: The generator has no such batch.
            FailedPrecondition: The generator refuses this service's token.
            Unavailable: The generator does not answer.
        """
        try:
            with translated():
                asked = generator.GetBatchRequest(batch_id=batch_id)
                seed = (await self._stub.GetBatch(asked, timeout=DEFAULT_DEADLINE)).batch.seed
                token, more = "", True
                while more:
                    request = generator.ListImagesRequest(
                        batch_id=batch_id,
                        page_size=_PAGE,
                        page_token=token,
                        verdicts=[*_ACCEPTED, *([generator.VERDICT_DOUBTFUL] if with_doubtful else [])],
                    )
                    page = await self._stub.ListImages(request, timeout=DEFAULT_DEADLINE)
                    yield [_image(project, seed, image) for image in page.images]
                    token = page.next_page_token
                    more = bool(token)
        except CanicorError as error:
            raise self._seen_from_here(error) from error

    def _seen_from_here(self, error: CanicorError) -> CanicorError:
        if isinstance(error, NotFound):
            return NotFound("The generator has no such batch.", reason="NO_SUCH_BATCH", field="batch_id")
        if isinstance(error, Unauthenticated | PermissionDenied):
            return FailedPrecondition(
                "The generator refuses the labeling service's token: set CANICOR_TOKEN of this service to one "
                "that may read batches.",
                reason="GENERATOR_REFUSES",
            )
        return Unavailable(
            f"The generator at {self._address} does not answer: is it running? "
            "CANICOR_GENERATOR_ADDRESS says where.",
            reason="GENERATOR_UNAVAILABLE",
        )


def _image(project: str, seed: int, image: generator.Image) -> Image:
    return Image(
        project=project,
        url=image.url,
        sha256=image.sha256,
        width=image.width,
        height=image.height,
        pixel_aspect=1.0,
        origin=pb.ORIGIN_PHANTOM if image.backend == "phantom" else pb.ORIGIN_GENERATED,
        subject_id=f"{image.batch_id}/{image.index}",
        batch_id=image.batch_id,
        batch_index=image.index,
        batch_seed=seed,
    )
