"""Images, labels, reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "labeling_image",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("pixel_aspect", sa.Double(), nullable=False),
        sa.Column("origin", sa.SmallInteger(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("batch_index", sa.BigInteger(), nullable=False),
        sa.Column("batch_seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("lease_id", sa.String(32), unique=True),
        sa.Column("leased_by", sa.String()),
        sa.Column("lease_expires", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("project", "sha256"),
        sa.UniqueConstraint("project", "leased_by"),
    )
    op.create_index("labeling_image_queue", "labeling_image", ["project", "state", "position"])
    op.create_table(
        "labeling_label",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("image_id", sa.String(32), sa.ForeignKey("labeling_image.id"), nullable=False, index=True),
        sa.Column("labeller", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("key_points", sa.JSON()),
        sa.Column("vhs", sa.Double(), nullable=False),
        sa.Column("heart_size", sa.SmallInteger(), nullable=False),
        sa.Column("reject_reason", sa.SmallInteger(), nullable=False),
        sa.Column("time_spent", sa.BigInteger()),
        sa.Column("suggestion_shown", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("labeller", "request_id"),
    )
    op.create_table(
        "labeling_review",
        sa.Column("label_id", sa.String(32), sa.ForeignKey("labeling_label.id"), primary_key=True),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("verdict", sa.SmallInteger(), nullable=False),
        sa.Column("key_points", sa.JSON()),
        sa.Column("vhs", sa.Double()),
        sa.Column("heart_size", sa.SmallInteger()),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    for table in ("labeling_review", "labeling_label", "labeling_image"):
        op.drop_table(table)
