"""Between the library's own types and the API's messages."""

from canicor.errors import InvalidArgument
from canicor.measurement.v1 import measurement_pb2 as pb
from canicor.vhs import KEY_POINT_NAMES, DegenerateKeyPoints, HeartSize, KeyPoints

_TO_MESSAGE: dict[HeartSize, pb.HeartSize.ValueType] = {
    HeartSize.SMALL: pb.HEART_SIZE_SMALL,
    HeartSize.NORMAL: pb.HEART_SIZE_NORMAL,
    HeartSize.LARGE: pb.HEART_SIZE_LARGE,
}
_FROM_MESSAGE = {value: size for size, value in _TO_MESSAGE.items()}


def key_points_message(key_points: KeyPoints) -> pb.KeyPoints:
    """Returns six points as a message."""
    a, b, c, d, e, f = (pb.Point(x=x, y=y) for x, y in key_points.xy.tolist())
    return pb.KeyPoints(a=a, b=b, c=c, d=d, e=e, f=f)


def key_points_from(message: pb.KeyPoints) -> KeyPoints:
    """Reads six points from a message.

    Raises:
        DegenerateKeyPoints: A point is missing or not finite.
    """
    present = {descriptor.name for descriptor, _ in message.ListFields()}
    missing = [name for name in KEY_POINT_NAMES if name.lower() not in present]
    if missing:
        raise DegenerateKeyPoints(f"Key points {', '.join(missing)} are missing: all six are needed.")
    points = (message.a, message.b, message.c, message.d, message.e, message.f)
    return KeyPoints.from_array([(point.x, point.y) for point in points])


def heart_size_message(size: HeartSize) -> pb.HeartSize.ValueType:
    """Returns a class as the API's enum value."""
    return _TO_MESSAGE[size]


def heart_size_from(value: pb.HeartSize.ValueType, field: str = "heart_size") -> HeartSize:
    """Reads a class from the API's enum value.

    Raises:
        InvalidArgument: It is none of the three.
    """
    if value not in _FROM_MESSAGE:
        raise InvalidArgument(
            "The class must be HEART_SIZE_SMALL, HEART_SIZE_NORMAL or HEART_SIZE_LARGE.",
            reason="UNKNOWN_CLASS",
            field=field,
        )
    return _FROM_MESSAGE[value]
