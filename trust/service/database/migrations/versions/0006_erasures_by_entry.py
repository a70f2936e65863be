"""erasures by the place of their entry"""

from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_erasures_entry', 'erasures', ['entry'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_erasures_entry', table_name='erasures')
