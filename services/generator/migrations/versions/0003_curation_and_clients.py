"""What curation says of images and batches, and whose batches they are."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COUNTS = ("accepted_count", "doubtful_count", "rejected_count")


def upgrade() -> None:
    with op.batch_alter_table("generator_batches") as batches:
        batches.add_column(sa.Column("client", sa.String(128), nullable=False, server_default=""))
        batches.add_column(sa.Column("curation_model", sa.String(128), nullable=False, server_default=""))
        for count in _COUNTS:
            batches.add_column(sa.Column(count, sa.Integer, nullable=False, server_default="0"))
        batches.add_column(sa.Column("report_key", sa.Text, nullable=False, server_default=""))
        batches.add_column(sa.Column("fidelity", sa.JSON))
    with op.batch_alter_table("generator_images") as images:
        images.add_column(sa.Column("verdict", sa.String(16), nullable=False, server_default=""))
        images.add_column(sa.Column("scores", sa.JSON))
        images.add_column(sa.Column("findings", sa.JSON))
        images.add_column(sa.Column("fingerprint", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("generator_images") as images:
        for column in ("fingerprint", "findings", "scores", "verdict"):
            images.drop_column(column)
    with op.batch_alter_table("generator_batches") as batches:
        for column in ("fidelity", "report_key", *reversed(_COUNTS), "curation_model", "client"):
            batches.drop_column(column)
