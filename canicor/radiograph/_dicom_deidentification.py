"""DICOM files without what says who the animal is, whose it is and who treated it."""

import hashlib
import uuid
from io import BytesIO

from pydicom import Dataset, FileDataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, SecondaryCaptureImageStorage

from canicor.radiograph._dicom import parsed
from canicor.radiograph._image import Deidentified, decoding

_KEPT = frozenset(
    {
        # Which kind of image it is, of what, and from which side.
        "SOPClassUID",
        "Modality",
        "PresentationIntentType",
        "BodyPartExamined",
        "ViewPosition",
        "PatientOrientation",
        "Laterality",
        "ImageLaterality",
        "BurnedInAnnotation",
        # How large its pixels are.
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "PixelSpacingCalibrationType",
        "PixelAspectRatio",
        "EstimatedRadiographicMagnificationFactor",
        # How they are stored: PS3.3 C.7.6.3.
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RedPaletteColorLookupTableDescriptor",
        "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "PixelData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "EncapsulatedPixelDataValueTotalLength",
        # How they are shown: PS3.3 C.11.
        "PixelIntensityRelationship",
        "PixelIntensityRelationshipSign",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "ModalityLUTSequence",
        "ModalityLUTType",
        "VOILUTSequence",
        "LUTDescriptor",
        "LUTData",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "PresentationLUTShape",
    }
)
"""What a radiograph is measured by. All else goes, known attributes and private ones alike: whoever lists what
identifies (PS3.15 table E.1-1) misses what a manufacturer writes elsewhere."""

# Of type 2 in every radiograph's object (PS3.3 C.7): they must be there, and may be empty.
_EMPTIED = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "SeriesNumber",
    "InstanceNumber",
)
_REPLACED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_SIGNED = ("PatientIdentityRemoved", "DeidentificationMethod")
_OURS = frozenset((*_EMPTIED, *_REPLACED, *_SIGNED))

# Which software wrote the file, and what pydicom adds to every file: PS3.10 7.1.
_META = frozenset(
    {
        "FileMetaInformationGroupLength",
        "FileMetaInformationVersion",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
    }
)
_IMPLEMENTATION = "2.25.42120368799081047921568450189788017581"


def dicom_without_identity(data: bytes, max_pixels: int) -> Deidentified:
    """Rewrites a DICOM file; see `canicor.radiograph.deidentified`."""
    with decoding("DICOM"):
        dataset = parsed(data, max_pixels)
        said = {keyword: dataset.get(keyword) for keyword in _OURS}
        removed = _stripped(dataset) | {one.tag for one in dataset.file_meta if one.keyword not in _META}
        _sign(dataset)
        replaced = (keyword for keyword, value in said.items() if value and value != dataset.get(keyword))
        removed |= {BaseTag(tag_for_keyword(keyword) or 0) for keyword in replaced}
        file = BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        burned_in = str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"
        return Deidentified(file.getvalue(), tuple(map(_named, sorted(removed))), burned_in)


def _stripped(dataset: Dataset) -> set[BaseTag]:
    """Takes out what is not kept, from nested data sets too; returns the tags of that which held anything."""
    removed: set[BaseTag] = set()
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        if keyword not in _KEPT:
            # Unread, for nobody needs to understand it. The retired lengths of groups say nothing.
            element = dataset.get_item(tag)
            if element is not None and element.value and tag.element and keyword not in _OURS:
                removed.add(tag)
            del dataset[tag]
        elif keyword.endswith("Sequence"):
            for nested in dataset[tag].value:
                removed |= _stripped(nested)
    return removed


def _sign(dataset: FileDataset) -> None:
    """Gives a stripped data set what every file has to have, made of nothing but its pixels."""
    identity = uuid.UUID(bytes=hashlib.sha256(dataset.PixelData).digest()[:16], version=5)
    for keyword in _EMPTIED:
        setattr(dataset, keyword, None)
    for keyword in _REPLACED:
        # PS3.5 B.2: a UUID as an integer is a UID.
        setattr(dataset, keyword, f"2.25.{identity.int}")
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Canicor: only what a radiograph is measured by"
    dataset.setdefault("SOPClassUID", SecondaryCaptureImageStorage)
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    # Or pydicom would write its version, with which the same file would become another.
    dataset.file_meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    dataset.file_meta.ImplementationVersionName = "CANICOR"
    dataset.preamble = bytes(128)


def _named(tag: BaseTag) -> str:
    name = keyword_for_tag(tag) or ("Private" if tag.is_private else "Unknown")
    return f"{name} ({tag.group:04X},{tag.element:04X})"
