"""Projects with settings, and tasks apart from images: several people may label one image."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "labeling_project",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("labels_per_image", sa.SmallInteger(), nullable=False),
        sa.Column("max_disagreement", sa.Double(), nullable=False),
        sa.Column("guidelines", sa.String(), nullable=False),
    )
    op.create_table(
        "labeling_task",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("image_id", sa.String(32), sa.ForeignKey("labeling_image.id"), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("labeller", sa.String()),
        sa.Column("lease_id", sa.String(32), unique=True),
        sa.Column("leased_by", sa.String()),
        sa.Column("lease_expires", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("image_id", "labeller"),
        sa.UniqueConstraint("project", "kind", "leased_by"),
    )
    op.create_index("labeling_task_queue", "labeling_task", ["project", "kind", "done", "position"])
    op.create_index("labeling_task_labeller", "labeling_task", ["labeller"])
    # What there was no setting for: one label an image.
    op.execute(
        "INSERT INTO labeling_project (name, labels_per_image, max_disagreement, guidelines) "
        "SELECT DISTINCT project, 1, 0.5, '' FROM labeling_image"
    )
    # An image that is not open (state 0) has one label that was not sent back (verdict 4).
    op.execute(
        "INSERT INTO labeling_task "
        "(project, image_id, kind, done, labeller, lease_id, leased_by, lease_expires) "
        "SELECT image.project, image.id, 0, image.state <> 0, "
        "CASE WHEN image.state <> 0 THEN (SELECT label.labeller FROM labeling_label AS label "
        "LEFT JOIN labeling_review AS review ON review.label_id = label.id "
        "WHERE label.image_id = image.id AND (review.verdict IS NULL OR review.verdict <> 4)) END, "
        "image.lease_id, image.leased_by, image.lease_expires "
        "FROM labeling_image AS image ORDER BY image.position"
    )
    op.drop_index("labeling_image_queue", "labeling_image")
    # SQLite makes the table anew, without the constraints that name these columns.
    with op.batch_alter_table("labeling_image") as images:
        for column in ("lease_id", "leased_by", "lease_expires"):
            images.drop_column(column)
    op.create_index("labeling_image_state", "labeling_image", ["project", "state"])
    op.add_column(
        "labeling_label", sa.Column("adjudication", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    op.drop_index("labeling_image_state", "labeling_image")
    with op.batch_alter_table("labeling_label") as labels:
        labels.drop_column("adjudication")
    # Leases end.
    with op.batch_alter_table("labeling_image") as images:
        images.add_column(sa.Column("lease_id", sa.String(32)))
        images.add_column(sa.Column("leased_by", sa.String()))
        images.add_column(sa.Column("lease_expires", sa.DateTime(timezone=True)))
        images.create_unique_constraint("labeling_image_lease_id_key", ["lease_id"])
        images.create_unique_constraint("labeling_image_project_leased_by_key", ["project", "leased_by"])
    op.create_index("labeling_image_queue", "labeling_image", ["project", "state", "position"])
    op.drop_table("labeling_task")
    op.drop_table("labeling_project")
