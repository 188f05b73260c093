"""What the page needs: several leases of a labeller at once, where a model has the points, order, gold images."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# What SQLite does not name in its own tables: as PostgreSQL names it.
CONVENTION = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}


def upgrade() -> None:
    with op.batch_alter_table("labeling_task", naming_convention=CONVENTION) as tasks:
        tasks.add_column(sa.Column("slot", sa.SmallInteger(), nullable=False, server_default="0"))
        tasks.add_column(sa.Column("rank", sa.Double(), nullable=False, server_default="0"))
        tasks.drop_constraint("labeling_task_project_kind_leased_by_key", type_="unique")
        tasks.create_unique_constraint(
            "labeling_task_project_kind_leased_by_slot_key", ["project", "kind", "leased_by", "slot"]
        )
    op.drop_index("labeling_task_queue", "labeling_task")
    op.create_index("labeling_task_queue", "labeling_task", ["project", "kind", "done", "rank", "position"])
    op.add_column(
        "labeling_project", sa.Column("suggestions", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("labeling_project", sa.Column("gold_share", sa.Double(), nullable=False, server_default="0"))
    op.add_column("labeling_project", sa.Column("order", sa.SmallInteger(), nullable=False, server_default="0"))
    for column in ("read_vhs", "read_width"):
        op.add_column("labeling_image", sa.Column(column, sa.Double()))
    op.add_column("labeling_image", sa.Column("gold", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("labeling_image_gold", "labeling_image", ["project", "gold", "position"])
    op.add_column("labeling_label", sa.Column("check", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("labeling_image", sa.Column("suggestion", sa.JSON()))
    op.add_column("labeling_image", sa.Column("suggested_by", sa.String(), nullable=False, server_default=""))
    op.create_index("labeling_image_suggestion", "labeling_image", ["suggested_by", "state", "position"])
    op.add_column("labeling_label", sa.Column("suggested_by", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    # Labels on gold images are not labels of the dataset.
    op.execute('DELETE FROM labeling_label WHERE "check"')
    op.execute("DELETE FROM labeling_task WHERE kind = 2")
    for column in ("check", "suggested_by"):
        op.drop_column("labeling_label", column)
    for index in ("labeling_image_gold", "labeling_image_suggestion"):
        op.drop_index(index, "labeling_image")
    for column in ("gold", "read_width", "read_vhs", "suggested_by", "suggestion"):
        op.drop_column("labeling_image", column)
    for column in ("order", "gold_share", "suggestions"):
        op.drop_column("labeling_project", column)
    op.drop_index("labeling_task_queue", "labeling_task")
    op.create_index("labeling_task_queue", "labeling_task", ["project", "kind", "done", "position"])
    # Leases that one labeller holds beside another end.
    op.execute("UPDATE labeling_task SET lease_id = NULL, leased_by = NULL, lease_expires = NULL WHERE slot > 0")
    with op.batch_alter_table("labeling_task", naming_convention=CONVENTION) as tasks:
        tasks.drop_constraint("labeling_task_project_kind_leased_by_slot_key", type_="unique")
        tasks.drop_column("slot")
        tasks.drop_column("rank")
        tasks.create_unique_constraint(
            "labeling_task_project_kind_leased_by_key", ["project", "kind", "leased_by"]
        )
