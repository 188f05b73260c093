"""What made an image, where it was a model."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("generator_images") as images:
        images.add_column(sa.Column("model_digest", sa.String(64), nullable=False, server_default=""))
        images.add_column(sa.Column("prompt", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("generator_images") as images:
        images.drop_column("prompt")
        images.drop_column("model_digest")
