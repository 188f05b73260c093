"""The generator's tables, as the latest migration leaves them."""

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

BATCHES = Table(
    "generator_batches",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("request_id", String(128), nullable=False, unique=True),
    Column("request_sha256", String(64), nullable=False),
    Column("request", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("image_count", Integer, nullable=False),
    Column("completed_count", Integer, nullable=False),
    Column("images_per_second", Float, nullable=False),
    Column("error", Text, nullable=False),
    Column("create_time", DateTime, nullable=False),
    Column("start_time", DateTime),
    Column("end_time", DateTime),
    Column("client", String(128), nullable=False, server_default=""),
    Column("curation_model", String(128), nullable=False, server_default=""),
    Column("accepted_count", Integer, nullable=False, server_default="0"),
    Column("doubtful_count", Integer, nullable=False, server_default="0"),
    Column("rejected_count", Integer, nullable=False, server_default="0"),
    Column("report_key", Text, nullable=False, server_default=""),
    Column("fidelity", JSON(none_as_null=True)),
    Index("generator_batches_state", "state"),
)
"""A row a batch. `request` is the CreateBatchRequest in protobuf's JSON with defaults filled in; `request_sha256`
is of the one that came. Times are UTC."""

IMAGES = Table(
    "generator_images",
    METADATA,
    Column("batch_id", String(32), ForeignKey("generator_batches.id"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("target", JSON(none_as_null=True)),
    Column("key_points", JSON(none_as_null=True)),
    Column("model_digest", String(64), nullable=False, server_default=""),
    Column("prompt", Text, nullable=False, server_default=""),
    Column("create_time", DateTime, nullable=False),
    Column("verdict", String(16), nullable=False, server_default=""),
    Column("scores", JSON(none_as_null=True)),
    Column("findings", JSON(none_as_null=True)),
    Column("fingerprint", String(64), nullable=False, server_default=""),
)
"""A row an image that is made and stored; `target` as `services.generator.targets.target_json` gives it."""
