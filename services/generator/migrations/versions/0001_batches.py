"""Batches and their images."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "generator_batches",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("request_id", sa.String(128), nullable=False, unique=True),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("image_count", sa.Integer, nullable=False),
        sa.Column("completed_count", sa.Integer, nullable=False),
        sa.Column("images_per_second", sa.Float, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime, nullable=False),
        sa.Column("start_time", sa.DateTime),
        sa.Column("end_time", sa.DateTime),
    )
    op.create_index("generator_batches_state", "generator_batches", ["state"])
    op.create_table(
        "generator_images",
        sa.Column("batch_id", sa.String(32), sa.ForeignKey("generator_batches.id"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("target", sa.JSON),
        sa.Column("key_points", sa.JSON),
        sa.Column("create_time", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("generator_images")
    op.drop_table("generator_batches")
